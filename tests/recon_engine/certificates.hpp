// Whose certificate is it?
// An authority of one folder: ca.crt; good.crt with good.key, signed by it for this machine; and those of tests/security/certificates.sh, which nobody who
// trusts ca.crt may trust: expired, elsewhere, stranger and itself. Needs openssl; EPOCHCUT_ROOT is the repository.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace certificates {

inline void make(const std::string& folder) {
  const std::string key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
  const std::string script = "cd '" + folder + "' && { openssl req -x509 " + key + " -days 30 -subj /CN=ca -keyout ca.key -out ca.crt && openssl req " + key +
                             " -subj /CN=localhost -keyout good.key -out good.csr && echo 'subjectAltName = IP:127.0.0.1, DNS:localhost' >good.names &&"
                             " openssl x509 -req -in good.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile good.names -out good.crt; }"
                             " >openssl.log 2>&1 && sh '" EPOCHCUT_ROOT "/tests/security/certificates.sh' '" +
                             folder + "'";
  if (std::system(script.c_str()) != 0) throw std::runtime_error("no certificates could be made in " + folder);
}

}  // namespace certificates
