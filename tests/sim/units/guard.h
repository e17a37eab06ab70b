// The one value that the check refuses.
#pragma once

constexpr int kRefused = 0x1234;
