# Files that travel inside the binary (migrations, price catalogue, sample trace): assembled by .incbin, looked up by name
# through base/resources.hpp.
function(cognive_resources target)
  set(entries "")
  set(assembly "  .section .rodata\n")
  set(declarations "")
  set(index 0)
  foreach(file IN LISTS ARGN)
    file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR} ${file})
    string(APPEND assembly
      "  .global cognive_resource_${index}_begin\n  .global cognive_resource_${index}_end\n"
      "cognive_resource_${index}_begin:\n  .incbin \"${file}\"\ncognive_resource_${index}_end:\n  .byte 0\n")
    string(APPEND declarations
      "extern \"C\" const char cognive_resource_${index}_begin[];\nextern \"C\" const char cognive_resource_${index}_end[];\n")
    string(APPEND entries
      "      {\"${name}\", {cognive_resource_${index}_begin, cognive_resource_${index}_end}},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  string(APPEND assembly "  .section .note.GNU-stack,\"\",@progbits\n")
  set(out ${CMAKE_CURRENT_BINARY_DIR}/embedded_files)
  file(CONFIGURE OUTPUT ${out}.S CONTENT "${assembly}" @ONLY)
  file(CONFIGURE OUTPUT ${out}.cpp CONTENT
"#include \"base/resources.hpp\"

${declarations}
namespace cognive {
std::span<const Resource> resources() {
  static const Resource all[] = {
${entries}  };
  return all;
}
}  // namespace cognive
" @ONLY)
  set_source_files_properties(${out}.S PROPERTIES OBJECT_DEPENDS "${ARGN}" LANGUAGE C
    COMPILE_OPTIONS "-x;assembler-with-cpp")
  target_sources(${target} PRIVATE ${out}.S ${out}.cpp)
  set_source_files_properties(${out}.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  set_source_files_properties(${out}.S PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()
