// Precompiled for every module that does I/O: the base header and the coroutine type.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "base/precompiled.hpp"
