// NumPy arrays as raw pointers, every one checked: whatever Python passes, no kernel leaves its buffers.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "checks.h"

namespace electioncode::bindings {

using Release = py::gil_scoped_release;
using MaybeArray = std::optional<py::array>;

inline std::string describe(const py::array& a) {
    return std::string(py::str(a.dtype())) + std::string(py::str(a.attr("shape")));
}

inline bool has_type(const py::array& a, char kind, py::ssize_t itemsize) {
    return a.dtype().kind() == kind && a.itemsize() == itemsize && a.dtype().byteorder() != '>';
}

inline bool is_aligned(const py::array& a, size_t bytes) { return reinterpret_cast<uintptr_t>(a.data()) % bytes == 0; }

// Return whether the last axis is contiguous; rows of a 2-D array may lie any whole number of elements apart.
inline bool rows_are_contiguous(const py::array& a) {
    const py::ssize_t last = a.ndim() - 1;
    if (a.shape(last) > 1 && a.strides(last) != a.itemsize()) return false;
    return a.ndim() == 1 || a.shape(0) <= 1 || a.strides(0) % a.itemsize() == 0;
}

// One or two dimensions of any element type, as rows.
struct Rows {
    char* data = nullptr;
    size_t rows = 1, columns = 0;
    ptrdiff_t stride = 0;

    template <typename T> T* row(size_t i) const {
        return reinterpret_cast<T*>(data + static_cast<ptrdiff_t>(i) * stride);
    }
};

inline Rows rows_of(const py::array& a, const char* argument, bool write) {
    if (a.ndim() < 1 || a.ndim() > 2 || !rows_are_contiguous(a))
        fail(argument, "1-D or 2-D and contiguous along its last axis", describe(a));
    if (write && !a.writeable()) fail(argument, "writeable", "a read-only array");
    Rows r;
    r.data = const_cast<char*>(static_cast<const char*>(a.data()));
    r.rows = a.ndim() == 2 ? static_cast<size_t>(a.shape(0)) : 1;
    r.columns = static_cast<size_t>(a.shape(a.ndim() - 1));
    r.stride = a.ndim() == 2 ? a.strides(0) : 0;
    return r;
}

inline Rows words_of(const py::array& a, const char* argument, size_t rows, size_t words, bool write) {
    if (!has_type(a, 'u', 8) || !is_aligned(a, alignof(Word))) fail(argument, "aligned uint64", describe(a));
    const Rows r = rows_of(a, argument, write);
    if (r.rows != rows || r.columns != words)
        fail(argument, std::to_string(rows) + " rows of " + std::to_string(words) + " words", describe(a));
    if (write && rows > 1 && static_cast<size_t>(std::abs(r.stride)) < words * sizeof(Word))
        fail(argument, "rows that do not overlap", describe(a));
    return r;
}

inline Dtype dtype_of(const py::array& a, const char* argument) {
    if (has_type(a, 'f', 4)) return Dtype::kFloat32;
    if (has_type(a, 'f', 8)) return Dtype::kFloat64;
    if (has_type(a, 'f', 2)) return Dtype::kFloat16;
    if (has_type(a, 'u', 2)) return Dtype::kBFloat16;
    fail(argument, "float16, float32, float64 or uint16 (the bits of bfloat16)", describe(a));
}

// Return one row of words, or none.
inline Word* row_of(const py::array& a, const char* argument, size_t words, bool write) {
    return words_of(a, argument, 1, words, write).row<Word>(0);
}
inline Word* row_of(const MaybeArray& a, const char* argument, size_t words, bool write) {
    return a ? row_of(*a, argument, words, write) : nullptr;
}

// Return all of an array's words.
inline Word* all_words_of(const py::array& a, const char* argument, bool write) {
    return row_of(a, argument, static_cast<size_t>(a.size()), write);
}

}  // namespace electioncode::bindings
