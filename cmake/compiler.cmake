# Compiler, language level, warnings and sanitizers, for our own targets only.

if(NOT (CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 17))
  message(FATAL_ERROR
    "Cognive is built with clang 17 or newer (found ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}): g++ 12 and 13 "
    "miscompile coroutines, and the precompiled headers need clang's flags. Use a preset: cmake --preset dev")
endif()

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # ccache must be told that a precompiled header is covered by its own contents and that times do not matter.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
endif()

set(COGNIVE_SANITIZE "" CACHE STRING "Sanitizers of the build, for instance address,undefined or thread")

add_library(cognive_options INTERFACE)
target_compile_options(cognive_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast -Woverloaded-virtual
  -Wnull-dereference -Wno-missing-designated-field-initializers -Werror -fno-omit-frame-pointer -pthread -Xclang -fno-pch-timestamp)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_options(cognive_options INTERFACE -g1)
endif()
if(COGNIVE_SANITIZE)
  target_compile_options(cognive_options INTERFACE -fsanitize=${COGNIVE_SANITIZE} -fno-sanitize-recover=all -O1)
  target_link_options(cognive_options INTERFACE -fsanitize=${COGNIVE_SANITIZE})
endif()
add_link_options(-fuse-ld=lld)
target_include_directories(cognive_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
# Asio and Beast are compiled once, in runtime/ and http/; awaitables then cost a header, not a template library.
target_compile_definitions(cognive_options INTERFACE
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED
  SPDLOG_FMT_EXTERNAL)
