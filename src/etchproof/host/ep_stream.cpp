// What Python and the host of a stream (host/ep_stream_host.sv) hand each other: items of a burst, and their answers.
//
// RTL calls ep_stream_next .. ep_stream_fail (DPI-C); Python calls the others through ctypes (etchproof/host/port.py).
// One thread, no locks.

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ep_sink.h"

namespace {

// port.py packs the same layout.
struct Item {
    uint32_t words;
    uint32_t first;           // it opens a sequence
    uint32_t fed_back;        // its word is the one that was answered last
    uint32_t request_stall;   // cycles before its first word is offered; more before each of the others, drawn from it
    uint32_t response_stall;  // likewise, before a word of the answer is taken
};
static_assert(sizeof(Item) == 20, "port.py packs 5 words");


struct Stream {
    std::vector<Item> items;
    std::vector<uint64_t> words;  // of all items
    std::vector<uint64_t> stop;
    uint64_t next = 0;   // index of the item that is next
    uint64_t at = 0;     // index of its first word
    uint64_t word = 0;   // of the current item
    uint64_t begin = 0;  // index of the current item's first word
    uint32_t limit = 0;
    bool paused = false;
    Item current{};
    uint32_t in_random = 0, out_random = 0;
    uint32_t first = 0, status = 0;          // as seen
    std::vector<uint64_t> fed, answer, last; // words as seen; of the answer before
    std::vector<uint64_t> answers;           // that Python has not taken
};

Stream stream;

// Up to seven cycles for half of the words, from a random number that is 0 where nothing stalls.
uint32_t draw(uint32_t& random) {
    if (!random) return 0;
    random ^= random << 13;
    random ^= random >> 17;
    random ^= random << 5;
    return random & 8 ? random & 7 : 0;
}

}  // namespace

// From RTL ------------------------------------------------------------------------------------------------------

extern "C" unsigned ep_stream_next() {
    if (stream.next == stream.items.size()) return 0;
    Item item = stream.items[stream.next];
    if (stream.next > 0) {
        if (stream.status) return 0;
        if (item.fed_back) {
            const uint64_t fed = stream.last.empty() ? 0 : stream.last[0];
            if (std::find(stream.stop.begin(), stream.stop.end(), fed) != stream.stop.end()) return 0;
            stream.words[stream.at] = fed;
        }
        stream.paused = !ep_sink_has_room();
        if (stream.paused) return 0;
    }
    stream.current = item;
    stream.begin = stream.at;
    stream.at += item.words;
    stream.word = 0;
    ++stream.next;
    stream.in_random = item.request_stall * 2654435761u;
    stream.out_random = item.response_stall * 2654435761u;
    stream.fed.clear();
    stream.answer.clear();
    stream.status = 0;
    return 1u | (item.first ? 2u : 0u);
}

extern "C" unsigned ep_stream_limit() { return stream.limit; }

extern "C" void ep_stream_word(unsigned long long* data, unsigned* last, unsigned* stall) {
    const Item& item = stream.current;
    *data = stream.words[stream.begin + stream.word];
    *stall = stream.word == 0 ? item.request_stall : draw(stream.in_random);
    *last = ++stream.word == item.words;
}

extern "C" unsigned ep_stream_stall() {
    return stream.answer.empty() ? stream.current.response_stall : draw(stream.out_random);
}

extern "C" void ep_stream_fed(unsigned long long data, unsigned first) {
    stream.fed.push_back(data);
    stream.first = first;
}

extern "C" void ep_stream_answered(unsigned long long data, unsigned status) {
    stream.answer.push_back(data);
    if (status) stream.status = status;  // any word of an answer may refuse
}

extern "C" void ep_stream_end(unsigned cycles) {
    const Item& item = stream.current;
    if (stream.fed.size() != item.words) {
        ep_fail("early_answer", "the chip answered after " + std::to_string(stream.fed.size()) + " of " +
                                    std::to_string(item.words) + " words");
    }
    auto& out = stream.answers;
    for (const uint64_t field : {uint64_t{stream.first}, uint64_t{stream.status}, uint64_t{cycles},
                                 uint64_t{item.request_stall}, uint64_t{item.response_stall},
                                 uint64_t{stream.fed.size()}, uint64_t{stream.answer.size()}}) {
        out.push_back(field);
    }
    out.insert(out.end(), stream.fed.begin(), stream.fed.end());
    out.insert(out.end(), stream.answer.begin(), stream.answer.end());
    stream.last = stream.answer;
    ep_sink_mark();
}

extern "C" void ep_stream_fail(unsigned code) {
    const char* const names[] = {"answer_not_held", "stray_answer", "timeout"};
    const char* const what[] = {"the chip changed an answer, or took it back, before it was taken",
                                "the chip answers where no answer is due", "the chip did not answer an item"};
    ep_fail(names[code % 3], what[code % 3]);
}

// From Python ---------------------------------------------------------------------------------------------------

// The next burst; `limit` is the most cycles that an item and its answer may take.
extern "C" void ep_stream_ask(const Item* items, uint64_t count, const uint64_t* words, uint64_t word_count,
                              const uint64_t* stop, uint64_t stop_count, uint32_t limit) {
    stream.items.assign(items, items + count);
    stream.words.assign(words, words + word_count);
    stream.stop.assign(stop, stop + stop_count);
    stream.limit = limit;
    stream.next = stream.at = 0;
    stream.status = 0;
    stream.paused = false;
}

// The answers since the last burst was asked for or taken: 7 fields each (port.py), then its words and those of the answer.
extern "C" const uint64_t* ep_stream_answers(uint64_t* count) {
    *count = stream.answers.size();
    return stream.answers.data();
}

extern "C" void ep_stream_taken() { stream.answers.clear(); }

// Whether items are left that would have been played but for want of memory for taps.
extern "C" int ep_stream_paused() { return stream.paused; }
