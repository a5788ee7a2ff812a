// What every Vec does by operators: the compiler's own, and those of scalar.h.

constexpr size_t kVecWords = sizeof(Vec) / sizeof(Word);

typedef Vec VecInMemory __attribute__((aligned(alignof(Word))));  // not memcpy, which GCC vectorises no further
static inline Vec load(const Word* p) { return *reinterpret_cast<const VecInMemory*>(p); }
static inline void store(Word* p, Vec a) { *reinterpret_cast<VecInMemory*>(p) = a; }
static inline Vec bit_and(Vec a, Vec b) { return a & b; }
static inline Vec bit_or(Vec a, Vec b) { return a | b; }
static inline Vec bit_xor(Vec a, Vec b) { return a ^ b; }
static inline Vec bit_not(Vec a) { return ~a; }
static inline Vec and_not(Vec a, Vec b) { return a & ~b; }

#ifndef __AVX512F__  // which has ternary logic and masks
static inline Vec or_not(Vec a, Vec b) { return a | ~b; }
static inline Vec xor3(Vec a, Vec b, Vec c) { return a ^ b ^ c; }

static inline Vec load_part(const Word* p, size_t n) {
    if (kVecWords == 1) return load(p);
    Word part[kVecWords] = {};
    std::memcpy(part, p, n * sizeof(Word));
    return load(part);
}
static inline void store_part(Word* p, Vec a, size_t n) {
    if (kVecWords == 1) return store(p, a);
    Word part[kVecWords];
    store(part, a);
    std::memcpy(p, part, n * sizeof(Word));
}
#endif
