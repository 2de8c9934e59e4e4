// A sink hears of all three kinds of difference: one that is deaf to a kind would report less than there is.
// expect: DiffSink
#include <epochcut/diff/diff.hpp>

using namespace epochcut;

struct Sink {
  void only_left(RowView) {}
  void only_right(RowView) {}
#ifndef WRONG
  void changed(RowView, RowView, const std::vector<std::string>&) {}
#endif
};

DiffCounts compare(Cursor& left, Cursor& right, Sink& sink) { return diff(left, right, {}, sink); }
