#include "runtime/blocking.hpp"

#include <boost/asio.hpp>

#include "base/error.hpp"

namespace cognive {

namespace asio = boost::asio;

struct BlockingThreads::State {
  explicit State(std::size_t count) : pool(count) {}
  asio::thread_pool pool;
};

BlockingThreads::BlockingThreads(std::size_t count) : state_(std::make_unique<State>(count)) {}

BlockingThreads::~BlockingThreads() {
  join();
}

void BlockingThreads::join() {
  if (!state_) return;
  state_->pool.stop();
  state_->pool.join();
  state_.reset();  // with what has not begun, while the executors of those who wait for it are still there
}

Async<> BlockingThreads::run(std::function<void()> work) {
  if (!state_) throw Unavailable("the process is stopping");
  const auto initiate = [&pool = state_->pool](auto handler, std::function<void()> body) {
    asio::post(pool, [handler = std::move(handler), body = std::move(body)]() mutable {
      std::exception_ptr failure;
      try {
        body();
      } catch (...) {
        failure = std::current_exception();
      }
      const auto executor = asio::get_associated_executor(handler);
      asio::post(executor, [handler = std::move(handler), failure]() mutable { std::move(handler)(failure); });
    });
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(initiate, asio::use_awaitable,
                                                                                         std::move(work));
}

}  // namespace cognive
