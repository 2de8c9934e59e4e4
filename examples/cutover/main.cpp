// cutover: proves a shadow equal to production, and hands the authority over at one sequence number.
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <unistd.h>

#include "cutover/commands.hpp"

namespace {

epochcut::Cancel cancel;

bool ask(const std::string& question) {
  if (isatty(STDIN_FILENO) == 0) {
    std::cerr << "cutover: nobody is there to answer \"" << question << "\"; say --yes\n";
    return false;
  }
  std::cerr << question << " [y/N] " << std::flush;
  std::string answer;
  return std::getline(std::cin, answer) && (answer == "y" || answer == "yes");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const cutover::Arguments arguments = cutover::parse({argv + 1, argv + argc}, [](const std::string& name) -> std::optional<std::string> {
      const char* value = std::getenv(name.c_str());
      if (value == nullptr || *value == 0) return std::nullopt;
      return value;
    });
    // A splice that is interrupted disarms first; a gate records what it has.
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { cancel.request(); });
    return cutover::run(arguments, {.out = std::cout, .err = std::cerr, .live = isatty(STDOUT_FILENO) != 0, .ask = ask}, {.cancel = &cancel});
  } catch (const epochcut::Failure& failure) {
    std::cerr << "cutover: " << failure.message << "\n";
    return failure.kind == epochcut::Reason::configuration ? cutover::exit_usage : cutover::exit_no_answer;
  } catch (const std::exception& e) {
    std::cerr << "cutover: " << e.what() << "\n";
    return cutover::exit_no_answer;
  }
}
