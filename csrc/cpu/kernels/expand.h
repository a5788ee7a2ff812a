// What the primitives of every instruction set build on.

// Bit i: x[i] < 0, x[i] == 0, x[i] is NaN.
struct SignMasks {
    Word negative, zero, nan;
};

// out[i] = bit i of the word ? one : zero, for 64 coordinates: four at a time, from a table.
template <typename T> struct TableExpander {
    T table[16][4];

    TableExpander(T one, T zero) {
        for (int nibble = 0; nibble < 16; ++nibble)
            for (int i = 0; i < 4; ++i) table[nibble][i] = (nibble >> i) & 1 ? one : zero;
    }
    void operator()(Word word, T* out) const {
        for (int i = 0; i < 64; i += 4) std::memcpy(out + i, table[(word >> i) & 0xf], sizeof table[0]);
    }
};
