// SPDX-License-Identifier: MIT
#include "checkpoint_json.h"

#include <string>
#include <vector>

#include "skep/dedupe/limits.h"

namespace skep::service {
namespace {

using nlohmann::json;

// One of the names of dedupe::name_of.
dedupe::PassKind pass_kind(const std::string& name) {
  for (const auto kind : {dedupe::PassKind::kQuick, dedupe::PassKind::kContentScan,
                          dedupe::PassKind::kDeepPlain, dedupe::PassKind::kDeepRead}) {
    if (name == name_of(kind)) return kind;
  }
  throw json::other_error::create(501, "no kind of pass: " + name, nullptr);
}

json to_json(const std::vector<dedupe::Glob>& globs) {
  json out = json::array();
  for (const auto& glob : globs) out.push_back(glob.text());
  return out;
}

// A pattern that this program would refuse was written by another: what it kept out is not known.
std::vector<dedupe::Glob> globs_of(const json& in, dedupe::Glob::Of of) {
  std::vector<dedupe::Glob> out;
  for (const json& text : in) {
    auto glob = dedupe::Glob::parse(text.get<std::string>(), of);
    if (!glob.ok()) throw json::other_error::create(501, "no pattern: " + text.dump(), nullptr);
    out.push_back(*std::move(glob));
  }
  return out;
}

json to_json(const dedupe::FilterOptions& filter) {
  return {{"include_subvolumes", to_json(filter.include_subvolumes)},
          {"exclude_subvolumes", to_json(filter.exclude_subvolumes)},
          {"read_only_subvolumes", filter.read_only_subvolumes},
          {"include_paths", to_json(filter.include_paths)},
          {"exclude_paths", to_json(filter.exclude_paths)},
          {"min_file_size", filter.file_bytes.least},
          {"max_file_size", filter.file_bytes.most},
          {"min_extent_size", filter.extent_bytes.least},
          {"max_extent_size", filter.extent_bytes.most},
          {"within_subvolume", filter.within_subvolume}};
}

dedupe::FilterOptions filter_from(const json& in) {
  using Of = dedupe::Glob::Of;
  dedupe::FilterOptions out;
  out.include_subvolumes = globs_of(in.at("include_subvolumes"), Of::kSubvolume);
  out.exclude_subvolumes = globs_of(in.at("exclude_subvolumes"), Of::kSubvolume);
  in.at("read_only_subvolumes").get_to(out.read_only_subvolumes);
  out.include_paths = globs_of(in.at("include_paths"), Of::kPath);
  out.exclude_paths = globs_of(in.at("exclude_paths"), Of::kPath);
  in.at("min_file_size").get_to(out.file_bytes.least);
  in.at("max_file_size").get_to(out.file_bytes.most);
  in.at("min_extent_size").get_to(out.extent_bytes.least);
  in.at("max_extent_size").get_to(out.extent_bytes.most);
  // Not there in states from before runs could be restricted so.
  out.within_subvolume = in.value("within_subvolume", std::uint64_t{0});
  return out;
}

}  // namespace

json to_json(const Checkpoint& c, const btrfs::Uuid& filesystem) {
  json out = {{"version", kCheckpointVersion},
              {"filesystem", btrfs::to_string(filesystem)},
              {"done_generation", c.position.done_generation},
              {"deep_generation", c.position.deep_generation},
              {"table_generation", c.position.table_generation},
              {"contents_generation", c.position.contents_generation},
              {"nodatasum", c.position.nodatasum},
              {"totals",
               {{"runs", c.totals.runs},
                {"bytes_freed", c.totals.bytes_freed},
                {"bytes_copied", c.totals.bytes_copied},
                {"extents_scanned", c.totals.extents_scanned},
                {"bytes_scanned", c.totals.bytes_scanned},
                {"bytes_shared", c.totals.bytes_shared},
                {"bytes_read", c.totals.bytes_read}}}};
  if (c.today.read != 0 || c.today.written != 0) {
    out["today"] = {{"day", c.today.day}, {"read", c.today.read}, {"written", c.today.written}};
  }
  if (c.position.filter != dedupe::FilterOptions()) out["filter"] = to_json(c.position.filter);
  if (c.position.busy_after) out["busy_after"] = *c.position.busy_after;
  for (const auto& one : c.position.retries) {
    out["retries"].push_back({one.address, one.tries});
  }
  if (c.position.unfinished) {
    out["pass"] = {{"kind", name_of(c.position.kind)},
                   {"after_generation", c.position.window.after},
                   {"to_generation", c.position.window.to},
                   {"tier", c.position.cursor.tier},
                   {"address", c.position.cursor.address},
                   {"recent_generation", c.position.recent_generation}};
  }
  return out;
}

Checkpoint checkpoint_of(const json& in) {
  Checkpoint c;
  in.at("done_generation").get_to(c.position.done_generation);
  in.at("table_generation").get_to(c.position.table_generation);
  // Not there in states that knew nothing of extents that have to be read.
  c.position.deep_generation = in.value("deep_generation", std::uint64_t{0});
  c.position.contents_generation = in.value("contents_generation", std::uint64_t{0});
  c.position.nodatasum = in.value("nodatasum", false);
  if (auto filter = in.find("filter"); filter != in.end()) {
    c.position.filter = filter_from(*filter);
  }
  if (auto busy = in.find("busy_after"); busy != in.end()) {
    c.position.busy_after = busy->get<std::uint64_t>();
  }
  if (auto retries = in.find("retries"); retries != in.end()) {
    if (retries->size() > dedupe::limits::kRetries) {
      throw json::other_error::create(501, "too many retries", nullptr);
    }
    for (const json& one : *retries) {
      c.position.retries.push_back(
          {one.at(0).get<std::uint64_t>(), one.at(1).get<std::uint32_t>()});
    }
  }
  const json& totals = in.at("totals");
  totals.at("runs").get_to(c.totals.runs);
  totals.at("bytes_freed").get_to(c.totals.bytes_freed);
  totals.at("bytes_copied").get_to(c.totals.bytes_copied);
  // Counted since there is a daemon.
  c.totals.extents_scanned = totals.value("extents_scanned", std::uint64_t{0});
  c.totals.bytes_scanned = totals.value("bytes_scanned", std::uint64_t{0});
  c.totals.bytes_shared = totals.value("bytes_shared", std::uint64_t{0});
  c.totals.bytes_read = totals.value("bytes_read", std::uint64_t{0});
  if (auto today = in.find("today"); today != in.end()) {
    today->at("day").get_to(c.today.day);
    today->at("read").get_to(c.today.read);
    today->at("written").get_to(c.today.written);
  }
  if (auto pass = in.find("pass"); pass != in.end()) {
    c.position.unfinished = true;
    c.position.kind =
        pass_kind(pass->value("kind", std::string(name_of(dedupe::PassKind::kQuick))));
    pass->at("after_generation").get_to(c.position.window.after);
    pass->at("to_generation").get_to(c.position.window.to);
    pass->at("tier").get_to(c.position.cursor.tier);
    pass->at("address").get_to(c.position.cursor.address);
    c.position.recent_generation = pass->value("recent_generation", c.position.window.to);
  }
  return c;
}

}  // namespace skep::service
