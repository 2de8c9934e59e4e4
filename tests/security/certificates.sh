#!/bin/sh
# Certificates that a client must not trust, beside the good one that servers.sh made in DIR: each has its key with it.
# usage: certificates.sh DIR
#   expired     by the authority, for this machine, until yesterday
#   elsewhere   by the authority, for another machine
#   stranger    for this machine, by an authority that no client knows (stranger-ca.crt)
#   itself      for this machine, signed by itself
set -eu
cd "$1"
exec 2>openssl-bad.log
here='subjectAltName = IP:127.0.0.1, DNS:localhost'

key() { # NAME COMMON-NAME
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr"
}
signed() { # NAME AUTHORITY DAYS NAMES
  printf '%s\n' "$4" >"$1.names"
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days "$3" -extfile "$1.names" -out "$1.crt"
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj '/CN=stranger' -keyout stranger-ca.key -out stranger-ca.crt
key expired localhost
signed expired ca -1 "$here"
key elsewhere elsewhere.invalid
signed elsewhere ca 30 'subjectAltName = DNS:elsewhere.invalid'
key stranger localhost
signed stranger stranger-ca 30 "$here"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj '/CN=localhost' -addext "$here" -keyout itself.key -out itself.crt
