// Who deletes what a source made, of a type that nobody else knows?
// Layer: cut. A std::unique_ptr without <memory>, which would add 4 400 lines to the 58 600 that the library costs to include.
#pragma once

#include <utility>

namespace epochcut {

/// Owns an object that was made by `new`, or none. Moved and never copied.
template <class T>
class Owned {
 public:
  Owned() = default;
  explicit Owned(T* made) : object_(made) {}
  Owned(Owned&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Owned() { delete object_; }

  explicit operator bool() const { return object_ != nullptr; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }

 private:
  T* object_ = nullptr;
};

}  // namespace epochcut
