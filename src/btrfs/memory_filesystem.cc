// SPDX-License-Identifier: MIT
#include "skep/btrfs/memory_filesystem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "memory_file.h"
#include "memory_store.h"
#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {

// Bytes that an extent item takes in the buffer of a tree search: header, item, inline references.
constexpr std::size_t kItemBytes = 32 + 24, kRefBytes = 29;

std::string name_of(FileKey key) { return fmt::format("inode {} of root {}", key.inode, key.root); }

void must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "MemoryFilesystem: %s\n", status.ToString().c_str());
  std::abort();
}

Uuid made_up_uuid() {
  Uuid uuid{};
  for (std::size_t i = 0; i < uuid.size(); ++i) uuid[i] = static_cast<std::uint8_t>(0x11 * i);
  return uuid;
}

}  // namespace

MemoryFilesystem::MemoryFilesystem(const MemoryOptions& options)
    : options_(options), store_(std::make_unique<MemoryStore>(options)) {
  info_.uuid = made_up_uuid();
  info_.block_size = options.block_size;
}

MemoryFilesystem::~MemoryFilesystem() = default;

void MemoryFilesystem::begin(std::string_view call) {
  // Calls that on_call makes itself must not start it again.
  thread_local bool inside = false;
  std::shared_ptr<const std::function<void(std::string_view)>> on_call;
  {
    absl::MutexLock lock(&mutex_);
    ++calls_[std::string(call)];
    on_call = on_call_;
  }
  if (!on_call || inside) return;
  inside = true;
  (*on_call)(call);
  inside = false;
}

absl::Status MemoryFilesystem::fault(std::string_view call, double not_found, double no_space) {
  if (faults_.strikes(faults_.plan().io_error)) return errno_status(EIO, call, "injected");
  if (faults_.strikes(not_found)) return errno_status(ENOENT, call, "injected");
  if (faults_.strikes(no_space)) return errno_status(ENOSPC, call, "injected");
  return absl::OkStatus();
}

absl::StatusOr<std::uint64_t> MemoryFilesystem::generation() {
  begin("generation");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("generation"); !status.ok()) return status;
  return store_->generation();
}

absl::StatusOr<ExtentPage> MemoryFilesystem::extents(std::uint64_t first, std::uint64_t last,
                                                     std::size_t buffer_bytes) {
  begin("extents");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("extents"); !status.ok()) return status;
  ExtentPage page;
  const auto& tree = store_->committed();
  std::size_t bytes = 0;
  auto at = tree.lower_bound(first);
  for (; at != tree.end() && at->first <= last; ++at) {
    bytes += kItemBytes + at->second.data_refs.size() * kRefBytes;
    if (!page.extents.empty() && bytes > buffer_bytes) break;
    page.extents.push_back(at->second);
  }
  page.done = at == tree.end() || at->first > last;
  page.next = page.extents.empty() ? first : page.extents.back().address + 1;
  return page;
}

absl::Status MemoryFilesystem::csums(std::uint64_t first, std::uint64_t end, CsumVisitor visit) {
  begin("csums");
  std::vector<MemoryStore::CsumStretch> stretches;
  {
    absl::MutexLock lock(&mutex_);
    if (auto status = fault("csums"); !status.ok()) return status;
    stretches = store_->csums(first, end);
  }
  for (const auto& stretch : stretches)
    visit(stretch.address, std::as_bytes(std::span(stretch.csums)));
  return absl::OkStatus();
}

absl::StatusOr<FileMap> MemoryFilesystem::file_map(FileKey file, std::uint64_t first,
                                                   std::uint64_t end) {
  begin("file_map");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("file_map", faults_.plan().not_found); !status.ok()) return status;
  const MemoryInode* inode = store_->find(file);
  if (inode == nullptr) return errno_status(ENOENT, "TREE_SEARCH_V2", name_of(file));
  FileMap map;
  map.inode = inode->inode;
  for (auto at = inode->items.lower_bound(first); at != inode->items.end() && at->first < end;
       ++at) {
    map.extents.push_back(at->second.extent);
  }
  return map;
}

absl::StatusOr<NamedInode> MemoryFilesystem::names(FileKey file) {
  begin("names");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("names", faults_.plan().not_found); !status.ok()) return status;
  auto found = store_->names(file);
  if (!found) return errno_status(ENOENT, "TREE_SEARCH_V2", name_of(file));
  return *std::move(found);
}

absl::Status MemoryFilesystem::file_extents(std::uint64_t root, ItemPlace first, ItemPlace last,
                                            FileExtentVisitor visit) {
  begin("file_extents");
  std::vector<std::pair<std::uint64_t, FileExtent>> found;
  {
    absl::MutexLock lock(&mutex_);
    if (auto status = fault("file_extents", faults_.plan().not_found); !status.ok()) return status;
    store_->for_each_item(root, first, last, [&](std::uint64_t inode, const FileExtent& extent) {
      found.emplace_back(inode, extent);
    });
  }
  for (const auto& [inode, extent] : found) visit(inode, extent);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LogicalRef>> MemoryFilesystem::logical_ino(std::uint64_t address,
                                                                      bool exact,
                                                                      std::size_t limit) {
  ++resolving_;
  if (sharing_ > 0) overlapped_ = true;
  begin("logical_ino");
  absl::StatusOr<std::vector<LogicalRef>> refs;
  {
    absl::MutexLock lock(&mutex_);
    auto status = fault("logical_ino", faults_.plan().not_found);
    refs = status.ok() ? store_->references(address, exact) : std::move(status);
  }
  --resolving_;
  if (refs.ok() && refs->size() > limit) {
    return absl::ResourceExhaustedError(
        fmt::format("extent {:#x}: {} references", address, refs->size()));
  }
  return refs;
}

absl::StatusOr<std::vector<Subvolume>> MemoryFilesystem::subvolumes() {
  begin("subvolumes");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("subvolumes"); !status.ok()) return status;
  return store_->subvolumes();
}

absl::StatusOr<SpaceInfo> MemoryFilesystem::space() {
  begin("space");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("space"); !status.ok()) return status;
  return store_->space();
}

absl::StatusOr<std::shared_ptr<File>> MemoryFilesystem::open(const FileHandle& file) {
  begin("open");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("open", faults_.plan().not_found); !status.ok()) return status;
  MemoryInode* inode = store_->find(file);
  const bool stale =
      inode == nullptr || (file.generation != 0 && file.generation != inode->inode.generation);
  if (stale) return errno_status(ESTALE, "open_by_handle_at", name_of(file));
  ++inode->handles;
  return std::shared_ptr<File>(std::make_shared<MemoryUserFile>(*this, file));
}

absl::StatusOr<std::shared_ptr<TemporaryFile>> MemoryFilesystem::create_temporary(ExtentKind kind) {
  begin("create_temporary");
  absl::MutexLock lock(&mutex_);
  auto status = fault("create_temporary", 0, faults_.plan().no_space);
  if (!status.ok()) return status;
  const FileKey key =
      store_->add_inode(kTopLevelRoot, kind.nodatasum ? kInodeNodatasum | kInodeNodatacow : 0, 0);
  store_->find(key)->compression = kind.compression;
  ++store_->find(key)->handles;
  return std::shared_ptr<TemporaryFile>(std::make_shared<MemoryTemporaryFile>(*this, key));
}

absl::StatusOr<std::uint64_t> MemoryFilesystem::sync() {
  begin("sync");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("sync"); !status.ok()) return status;
  return store_->commit();
}

absl::StatusOr<std::size_t> MemoryFilesystem::read(FileKey file, std::uint64_t offset,
                                                   std::span<std::byte> out) {
  begin("read");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("read"); !status.ok()) return status;
  return store_->read(file, offset, out);
}

void MemoryFilesystem::readahead() { begin("readahead"); }

absl::Status MemoryFilesystem::write_temporary(FileKey file, std::uint64_t offset,
                                               std::span<const std::byte> data) {
  begin("write");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("write", 0, faults_.plan().no_space); !status.ok()) return status;
  return store_->write_dirty(file, offset, data);
}

void MemoryFilesystem::start_writeback(FileKey file) {
  begin("start_writeback");
  absl::MutexLock lock(&mutex_);
  store_->flush(file);
}

absl::Status MemoryFilesystem::truncate_temporary(FileKey file, std::uint64_t size) {
  begin("truncate");
  absl::MutexLock lock(&mutex_);
  if (auto status = fault("truncate"); !status.ok()) return status;
  return store_->truncate(file, size);
}

void MemoryFilesystem::close(FileKey file) {
  absl::MutexLock lock(&mutex_);
  store_->close(file);
}

std::uint64_t MemoryFilesystem::add_subvolume() {
  absl::MutexLock lock(&mutex_);
  return store_->add_subvolume();
}

std::uint64_t MemoryFilesystem::snapshot(std::uint64_t root, bool read_only) {
  absl::MutexLock lock(&mutex_);
  if (!store_->has_subvolume(root)) must(errno_status(ENOENT, "snapshot", "root"));
  return store_->snapshot(root, read_only);
}

absl::Status MemoryFilesystem::remove_subvolume(std::uint64_t root) {
  absl::MutexLock lock(&mutex_);
  return store_->remove_subvolume(root);
}

FileKey MemoryFilesystem::create(std::uint64_t root, std::span<const std::byte> data,
                                 std::uint64_t flags, std::uint8_t compression) {
  absl::MutexLock lock(&mutex_);
  if (!store_->has_subvolume(root)) must(errno_status(ENOENT, "create", "root"));
  const FileKey key = store_->add_inode(root, flags, 1);
  must(store_->write(key, 0, data, compression));
  return key;
}

void MemoryFilesystem::create_in_place_of(FileKey gone, std::span<const std::byte> data) {
  absl::MutexLock lock(&mutex_);
  if (store_->find(gone) != nullptr) must(errno_status(EEXIST, "create", name_of(gone)));
  store_->add_inode_at(gone, 0, 1);
  must(store_->write(gone, 0, data, 0));
}

FileKey MemoryFilesystem::create_inline(std::uint64_t root, std::span<const std::byte> data) {
  absl::MutexLock lock(&mutex_);
  if (!store_->has_subvolume(root)) must(errno_status(ENOENT, "create", "root"));
  if (data.size() >= info_.block_size) must(errno_status(EFBIG, "create_inline", "data"));
  const FileKey key = store_->add_inode(root, 0, 1);
  store_->find(key)->inode.size = data.size();
  store_->write_inline(key, data);
  return key;
}

absl::Status MemoryFilesystem::write(FileKey file, std::uint64_t offset,
                                     std::span<const std::byte> data, std::uint8_t compression) {
  absl::MutexLock lock(&mutex_);
  return store_->write(file, offset, data, compression);
}

absl::Status MemoryFilesystem::reflink(FileKey source, std::uint64_t source_offset,
                                       std::uint64_t length, FileKey destination,
                                       std::uint64_t destination_offset) {
  absl::MutexLock lock(&mutex_);
  return store_->reflink(source, source_offset, length, destination, destination_offset);
}

absl::Status MemoryFilesystem::punch(FileKey file, std::uint64_t offset, std::uint64_t length) {
  absl::MutexLock lock(&mutex_);
  return store_->punch(file, offset, length);
}

absl::Status MemoryFilesystem::fallocate(FileKey file, std::uint64_t offset, std::uint64_t length) {
  absl::MutexLock lock(&mutex_);
  return store_->fallocate(file, offset, length);
}

absl::Status MemoryFilesystem::truncate(FileKey file, std::uint64_t size) {
  absl::MutexLock lock(&mutex_);
  return store_->truncate(file, size);
}

absl::Status MemoryFilesystem::remove(FileKey file) {
  absl::MutexLock lock(&mutex_);
  return store_->unlink(file);
}

std::uint64_t MemoryFilesystem::create_folder(std::uint64_t root, const FileName& name) {
  absl::MutexLock lock(&mutex_);
  if (!store_->has_subvolume(root)) must(errno_status(ENOENT, "mkdir", "root"));
  return store_->create_folder(root, name);
}

absl::Status MemoryFilesystem::rename(FileKey file, const FileName& name) {
  absl::MutexLock lock(&mutex_);
  return store_->rename(file, name);
}

absl::Status MemoryFilesystem::link(FileKey file, const FileName& name) {
  absl::MutexLock lock(&mutex_);
  return store_->link(file, name);
}

absl::Status MemoryFilesystem::move_subvolume(std::uint64_t root, std::uint64_t parent,
                                              const FileName& place) {
  absl::MutexLock lock(&mutex_);
  return store_->move_subvolume(root, parent, place);
}

absl::Status MemoryFilesystem::set_flags(FileKey file, std::uint64_t flags) {
  absl::MutexLock lock(&mutex_);
  return store_->set_flags(file, flags);
}

std::vector<std::byte> MemoryFilesystem::read_all(FileKey file) const {
  absl::MutexLock lock(&mutex_);
  const MemoryInode* inode = store_->find(file);
  Bytes out(inode == nullptr ? 0 : inode->inode.size);
  if (inode != nullptr) store_->read(file, 0, out);
  return out;
}

std::vector<FileKey> MemoryFilesystem::files() const {
  absl::MutexLock lock(&mutex_);
  return store_->files();
}

std::uint64_t MemoryFilesystem::data_used() const {
  absl::MutexLock lock(&mutex_);
  return store_->used();
}

std::size_t MemoryFilesystem::extent_count() const {
  absl::MutexLock lock(&mutex_);
  return store_->extent_count();
}

absl::Status MemoryFilesystem::check() const {
  if (overlapped_) return absl::InternalError("logical_ino() and dedupe() ran at the same time");
  absl::MutexLock lock(&mutex_);
  return store_->check();
}

std::uint64_t MemoryFilesystem::calls(std::string_view call) const {
  absl::MutexLock lock(&mutex_);
  const auto found = calls_.find(std::string(call));
  return found == calls_.end() ? 0 : found->second;
}

void MemoryFilesystem::set_faults(const FaultPlan& plan) {
  absl::MutexLock lock(&mutex_);
  faults_ = FaultInjector(plan);
}

std::uint64_t MemoryFilesystem::faults_injected() const {
  absl::MutexLock lock(&mutex_);
  return faults_.injected();
}

void MemoryFilesystem::set_on_call(std::function<void(std::string_view call)> on_call) {
  std::shared_ptr<const std::function<void(std::string_view)>> shared;
  if (on_call) {
    shared = std::make_shared<const std::function<void(std::string_view)>>(std::move(on_call));
  }
  absl::MutexLock lock(&mutex_);
  on_call_.swap(shared);
}

}  // namespace skep::btrfs
