# One static library per folder of src/, with its unit tests (the *_test.cpp beside the sources) in one test binary.
#
#   cognive_module(prices PCH runtime SOURCES catalogue.cpp … DEPS base json PRIVATE PkgConfig::re2 TESTS catalogue_test.cpp …)
#
# DEPS are modules; PRIVATE are third-party targets that this folder alone may include; PCH names the module whose
# precompiled header is reused: `base` (standard library) or `runtime` (that and coroutines).
function(cognive_module name)
  cmake_parse_arguments(M "" "PCH" "SOURCES;DEPS;PUBLIC;PRIVATE;TESTS" ${ARGN})
  add_library(${name} STATIC ${M_SOURCES})
  target_link_libraries(${name} PUBLIC cognive_options ${M_DEPS} ${M_PUBLIC} PRIVATE ${M_PRIVATE})
  if(M_PCH)
    target_precompile_headers(${name} REUSE_FROM ${M_PCH})
  else()
    target_precompile_headers(${name} PRIVATE precompiled.hpp)
  endif()
  if(M_TESTS)
    add_executable(${name}_test ${M_TESTS})
    target_link_libraries(${name}_test PRIVATE ${name} ${M_PRIVATE} GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE COGNIVE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    add_test(NAME unit.${name} COMMAND ${name}_test)
    set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 400)
  endif()
endfunction()
