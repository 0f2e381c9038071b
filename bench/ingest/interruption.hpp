// SIGINT and SIGTERM as an exception at the next safe place, so that everything that was started is cleaned up.
#pragma once

namespace cognive::bench {

// From then on the signals no longer end the process. Call once.
void catch_signals();

// Throws std::runtime_error when one of them came.
void throw_if_interrupted();

}  // namespace cognive::bench
