// epochcut: do two live stores agree, as of the same point in the event sequence?
// core + cut + diff + verdict: never a leaf, never a dependency beyond the standard library.
// Sources are leaves of their own: source/postgres.hpp, source/clickhouse.hpp, source/memory.hpp.
#pragma once

#include <epochcut/verdict/check.hpp>
#include <epochcut/verdict/full_compare.hpp>
#include <epochcut/verdict/bracket.hpp>
#include <epochcut/verdict/report.hpp>
#include <epochcut/verdict/planted.hpp>
#include <epochcut/verdict/shadow_gate.hpp>
#include <epochcut/version.hpp>
