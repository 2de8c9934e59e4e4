# What the program shows and says: board, metrics, page, HTTP, pager. Without servers, but for the outbox.
if(TARGET recon_engine_lib AND TARGET examples_httplib AND TARGET nlohmann_json::nlohmann_json)
  add_executable(recon_engine_face ../support/main.cpp board_test.cpp http_test.cpp incident_test.cpp metrics_test.cpp page_test.cpp)
  target_include_directories(recon_engine_face PRIVATE ${PROJECT_SOURCE_DIR}/tests ${PROJECT_SOURCE_DIR}/examples)
  target_compile_definitions(recon_engine_face PRIVATE EPOCHCUT_ROOT="${PROJECT_SOURCE_DIR}")
  target_link_libraries(recon_engine_face PRIVATE recon_engine_lib examples_httplib nlohmann_json::nlohmann_json epochcut::testing epochcut::format Catch2::Catch2
                                                  epochcut_build)
  target_precompile_headers(recon_engine_face REUSE_FROM unit_tests)
  set_source_files_properties(../support/main.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  add_test(NAME recon_engine.face COMMAND recon_engine_face)
  set_tests_properties(recon_engine.face PROPERTIES LABELS unit TIMEOUT 120)
  add_test(NAME recon_engine.page COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/page_screenshot.sh $<TARGET_FILE:recon_engine_face> ${CMAKE_CURRENT_BINARY_DIR}/page)
  set_tests_properties(recon_engine.page PROPERTIES LABELS browser SKIP_RETURN_CODE 77 TIMEOUT 300)

  live_test(outbox SOURCES outbox_test.cpp LINK recon_engine_lib)
endif()
