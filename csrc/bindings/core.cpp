// The module _core: the list of its parts, and what belongs to none of them.
#include "core.h"

#include "../cpu/dispatch.h"
#include "../cpu/ops.h"
#include "../cpu/thread_pool.h"

namespace electioncode::bindings {

const char* const kModule = "_core";

namespace {

void draw_words(const py::array& out, Key seed, Key step, Key stream, Key purpose) {
    Word* words = all_words_of(out, "out", true);
    const size_t n = static_cast<size_t>(out.size());
    const Release release;
    random_words({seed, step, stream, purpose}, words, n);
}

template <Word (*kReduce)(const Word*, size_t)> Word reduce(const py::array& words) {
    const Word* data = all_words_of(words, "words", false);
    const size_t n = static_cast<size_t>(words.size());
    const Release release;
    return kReduce(data, n);
}

template <void (*kMove)(const Word*, Word*, size_t)> void move_between(const py::array& from, const py::array& to) {
    const size_t n = static_cast<size_t>(from.size());
    const Word* source = row_of(from, "source", n, false);
    Word* target = row_of(to, "target", n, true);
    const Release release;
    kMove(source, target, n);
}

std::vector<std::pair<std::string, bool>> list_instruction_sets() {
    std::vector<std::pair<std::string, bool>> rows;
    for (const InstructionSet& row : instruction_sets()) rows.emplace_back(row.kernels->name, row.available);
    return rows;
}

py::dict build_info() {
    py::dict info;
    info["version"] = ELECTIONCODE_VERSION;
    info["compiler"] = ELECTIONCODE_COMPILER;
    info["flags"] = ELECTIONCODE_FLAGS;
    info["pybind11"] = std::to_string(PYBIND11_VERSION_MAJOR) + "." + std::to_string(PYBIND11_VERSION_MINOR);
    bool assertions = false;
    assert(assertions = true);
    info["assertions"] = assertions;
    return info;
}

}  // namespace
}  // namespace electioncode::bindings

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
    using namespace electioncode;
    using namespace electioncode::bindings;
    define_tensors(m);
    define_votes(m);
    m.def("random_words", &draw_words);
    m.def("checksum", &reduce<checksum>);
    m.def("read", &reduce<read_only>);
    m.def("copy", &move_between<copy>);
    m.def("rewrite", &move_between<rewrite>);
    m.def("instruction_sets", &list_instruction_sets);
    m.def("instruction_set", [] { return std::string(kernels().name); });
    m.def("set_instruction_set", &set_instruction_set);
    m.def("num_threads", &num_threads);
    m.def("set_num_threads", &set_num_threads);
    m.def("build_info", &build_info);
    kernels();  // a wrong ELECTIONCODE_ISA fails the import, not the first vote
}
