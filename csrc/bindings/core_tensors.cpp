// Tensors and packed signs: pack, unpack, and the two ends of an optimizer step.
#include "../cpu/ops.h"
#include "core.h"

namespace electioncode::bindings {
namespace {

bool pack_rows(const py::array& x, const py::array& words, const MaybeArray& mask, int zero, int nan, Key seed,
               Key step, Key stream) {
    const Dtype dtype = dtype_of(x, "x");
    const Rows from = rows_of(x, "x", false);
    const Rows to = words_of(words, "words", from.rows, num_words(from.columns), true);
    const Rows voted = mask ? words_of(*mask, "mask", from.rows, to.columns, true) : Rows{};
    std::vector<PackJob> jobs(from.rows);
    for (size_t i = 0; i < from.rows; ++i) {
        PackJob& job = jobs[i];
        job.x = from.row<void>(i), job.dtype = dtype, job.d = from.columns;
        job.zero = zero_of(zero), job.nan = nan_of(nan);
        job.random = {seed, step, stream + static_cast<uint32_t>(i), kPurposeZero};
        job.words = to.row<Word>(i), job.mask = mask ? voted.row<Word>(i) : nullptr;
    }
    const Release release;
    return pack(jobs);
}

using PackTuple = std::tuple<int, Address, Address, size_t>;  // dtype, x, v (0: none), d

bool pack_addresses(const std::vector<PackTuple>& tensors, double beta, double weight, bool negate,
                    const py::array& words, const MaybeArray& mask, int zero, int nan, Key seed, Key step, Key stream,
                    size_t first_word, const MaybeSplit& split) {
    size_t total = 0;
    for (const auto& [type, x, v, d] : tensors) total += num_words(coordinates(d));
    Word* out = row_of(words, "words", total, true);
    Word* out_mask = row_of(mask, "mask", total, true);
    std::vector<PackJob> jobs(tensors.size());
    for (size_t i = 0, first = 0; i < tensors.size(); ++i) {
        const auto& [type, x, v, d] = tensors[i];
        PackJob& job = jobs[i];
        job.dtype = float_of(type), job.d = d;
        job.x = values_at<const void>(x, job.dtype, "x", d > 0);
        job.v = values_at<void>(v, job.dtype, "v", false);
        set_rule(job, beta, weight, negate, zero, nan, split);
        job.random = {seed, step, stream, kPurposeZero};
        job.first_word = first_word + first;
        job.words = out + first, job.mask = out_mask ? out_mask + first : nullptr;
        first += num_words(d);
    }
    const Release release;
    return pack(jobs);
}

void unpack_rows(const py::array& words, const MaybeArray& mask, const py::array& out) {
    const Dtype dtype = has_type(out, 'i', 1) ? Dtype::kInt8 : dtype_of(out, "out");
    if (!is_aligned(out, static_cast<size_t>(out.itemsize()))) fail("out", "aligned", describe(out));
    const Rows to = rows_of(out, "out", true);
    const Rows from = words_of(words, "words", to.rows, num_words(to.columns), false);
    const Rows voted = mask ? words_of(*mask, "mask", to.rows, from.columns, false) : Rows{};
    const Release release;
    for (size_t i = 0; i < to.rows; ++i)
        unpack({from.row<Word>(i), mask ? voted.row<Word>(i) : nullptr, to.columns, dtype, to.row<void>(i)});
}

using UpdateTuple = std::tuple<int, Address, size_t>;  // dtype, parameters, d

void update_addresses(const std::vector<UpdateTuple>& params, const py::array& words, const MaybeArray& mask,
                      double decay, double step) {
    size_t total = 0;
    for (const auto& [type, p, d] : params) total += num_words(coordinates(d));
    const Word* signs = row_of(words, "words", total, false);
    const Word* voted = row_of(mask, "mask", total, false);
    std::vector<UpdateJob> jobs;
    size_t first = 0;
    for (const auto& [type, p, d] : params) {
        const Dtype dtype = float_of(type);
        void* values = values_at<void>(p, dtype, "params", d > 0);
        jobs.push_back({values, dtype, d, decay, step, signs + first, voted ? voted + first : nullptr});
        first += num_words(d);
    }
    const Release release;
    update(jobs);
}

}  // namespace

void define_tensors(py::module_& m) {
    m.def("pack", &pack_rows);
    m.def("pack_addresses", &pack_addresses);
    m.def("unpack", &unpack_rows);
    m.def("update_addresses", &update_addresses);
}

}  // namespace electioncode::bindings
