# Read by the build of llama-cpp-python when the Makefile installs it (CMAKE_PROJECT_..._INCLUDE).
#
# The Python package loads libllama, ggml and libmtmd only. llama.cpp's "common" library (argument
# parsing, chat templates, downloads, an HTTP library) serves its command-line tools, yet the
# package's own CMakeLists forces it on in the cache. A plain variable set here goes before a cache
# entry, so it stays off. The other four are off by default inside another project: they are named
# so that a later release cannot switch them on unseen.
set(LLAMA_BUILD_COMMON OFF)
set(LLAMA_BUILD_TOOLS OFF)
set(LLAMA_BUILD_TESTS OFF)
set(LLAMA_BUILD_EXAMPLES OFF)
set(LLAMA_BUILD_SERVER OFF)
