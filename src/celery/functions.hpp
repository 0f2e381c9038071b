// The tasks that may be called from outside. Nothing of what keeps the product itself going is among them: whoever may
// write to RabbitMQ may call them.
#pragma once

#include "celery/worker.hpp"

namespace cognive::celery {

struct Entry {
  tasks::Definition definition;
  Function function;
};

const std::vector<Entry>& functions();

}  // namespace cognive::celery
