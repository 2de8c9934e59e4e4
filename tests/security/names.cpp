// Stands before the C library's getaddrinfo, for libpq and libcurl too: no test asks a name server, and every name is another machine that happens to be
// this one. What was asked is remembered, since half of a password that is taken for a host name would be sent to one in the clear.
#include <dlfcn.h>
#include <netdb.h>

#include <cctype>
#include <string>

#include "security/support.hpp"

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** result) {
  using Function = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (node == nullptr) return real(node, service, hints, result);
  security::LookedUp::instance().add(node);
  const std::string_view name = node;
  const bool address = name.find_first_not_of("0123456789.") == std::string_view::npos || name.find(':') != std::string_view::npos;
  return real(address ? node : "127.0.0.1", service, hints, result);
}
