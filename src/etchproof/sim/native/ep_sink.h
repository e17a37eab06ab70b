// What the C++ of a chip's port may call of the engine (docs/host.md, "A port of your own"). One thread, no locks.

#pragma once

#include <string>

// The run fails. `name` is one word for the kind of failure, the message one line; the first failure is the one that
// is told.
void ep_fail(const char* name, const std::string& message);

// A token, or another item, was answered: every tap that is written from here on is the next one's.
void ep_sink_mark();

// Whether the taps of another token surely have room. A port that plays several tokens in a row has to stop and wait
// for Python where they have not.
bool ep_sink_has_room();
