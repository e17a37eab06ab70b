// The part of LZ4's interface that Verilator's FST library uses, so that waves need no package of the system: compression
// of one block, in LZ4's block format. Each block ends with at least five literals, and no match begins in its last twelve
// bytes, as the format asks for.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace ep_lz4 {

constexpr int kMinMatch = 4;
constexpr int kLastLiterals = 5;
constexpr int kNoMatchWithin = 12;
constexpr int kFarthest = 65535;
constexpr int kHashBits = 14;

inline std::uint32_t load(const std::uint8_t* from) {
    std::uint32_t value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline std::uint8_t* put_length(std::uint8_t* to, int rest) {
    for (; rest >= 255; rest -= 255) *to++ = 255;
    *to++ = static_cast<std::uint8_t>(rest);
    return to;
}

// A sequence: literals, and a match of `match` bytes; none in the last one, where it is 0.
inline std::uint8_t* put(std::uint8_t* to, const std::uint8_t* literals, int count, int distance, int match) {
    const int more = match ? match - kMinMatch : 0;
    *to++ = static_cast<std::uint8_t>(std::min(count, 15) << 4 | std::min(more, 15));
    if (count >= 15) to = put_length(to, count - 15);
    if (count) std::memcpy(to, literals, static_cast<std::size_t>(count));
    to += count;
    if (!match) return to;
    *to++ = static_cast<std::uint8_t>(distance);
    *to++ = static_cast<std::uint8_t>(distance >> 8);
    return more >= 15 ? put_length(to, more - 15) : to;
}

}  // namespace ep_lz4

// The most bytes that a block of `size` bytes takes.
inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

// Compresses `size` bytes; returns how many bytes that took, 0 where they do not fit into `capacity`.
inline int LZ4_compress_default(const char* source, char* target, int size, int capacity) {
    using namespace ep_lz4;
    if (capacity < LZ4_compressBound(size)) return 0;
    const auto* const from = reinterpret_cast<const std::uint8_t*>(source);
    auto* const begin = reinterpret_cast<std::uint8_t*>(target);
    auto* to = begin;
    static thread_local std::vector<int> last;  // by hash of four bytes, where they stood last, and one
    last.assign(std::size_t{1} << kHashBits, 0);
    int anchor = 0;
    for (int at = 0; at < size - kNoMatchWithin;) {
        const std::uint32_t word = load(from + at);
        int& place = last[word * 2654435761U >> (32 - kHashBits)];
        const int before = place - 1;
        place = at + 1;
        if (before < 0 || at - before > kFarthest || load(from + before) != word) {
            ++at;
            continue;
        }
        int length = kMinMatch;
        while (at + length < size - kLastLiterals && from[before + length] == from[at + length]) ++length;
        to = put(to, from + anchor, at - anchor, at - before, length);
        at += length;
        anchor = at;
    }
    to = put(to, from + anchor, size - anchor, 0, 0);
    return static_cast<int>(to - begin);
}
