// SPDX-License-Identifier: MIT
//
// An array of zeros whose memory is taken page by page, when it is first written to, and given back
// at its end: caches are made for every pass, and one that follows a commit uses little of them. A
// std::vector writes its zeros, 8 MiB for each pass over data that was read, and so does calloc:
// after the first of these the C library keeps blocks of that size (mallopt(3), M_MMAP_THRESHOLD).
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace skep::index {

// Owns its elements. As thread-safe as a vector whose size does not change. Throws std::bad_alloc.
template <typename T>
class ZeroedArray {
  static_assert(std::is_trivial_v<T>, "all bits zero is a value of it");

 public:
  ZeroedArray() = default;
  // `size`: at least 1.
  explicit ZeroedArray(std::size_t size) : size_(size) {
    void* pages =
        mmap(nullptr, size * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    elements_ = static_cast<T*>(pages);
  }
  ~ZeroedArray() {
    if (elements_ != nullptr) munmap(elements_, size_ * sizeof(T));
  }
  ZeroedArray(ZeroedArray&& other) noexcept
      : elements_(std::exchange(other.elements_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  ZeroedArray& operator=(ZeroedArray&& other) noexcept {
    std::swap(elements_, other.elements_);
    std::swap(size_, other.size_);
    return *this;
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](std::size_t at) { return elements_[at]; }
  const T& operator[](std::size_t at) const { return elements_[at]; }

 private:
  T* elements_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace skep::index
