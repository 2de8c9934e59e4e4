// A source of your own: a folder of CSV files, one per relation. It only scans; as-of, argMax, sums, order and proof come from the library.
// The first line says `name:type` per column (`amount:decimal`); text is always quoted, "" is a quote within it, and an empty cell is NULL.
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include <epochcut/core/parse.hpp>
#include <epochcut/cut/evaluate.hpp>

class CsvFolder {
 public:
  explicit CsvFolder(std::string path) : path_(std::move(path)) {}

  epochcut::Relation scan(const std::string& relation) {
    std::ifstream file(path_ + "/" + relation + ".csv", std::ios::binary);
    if (!file) throw epochcut::Failure(epochcut::Reason::not_found, "there is no file " + relation + ".csv in " + path_);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    epochcut::Relation table;
    std::size_t at = 0, column = 0;
    for (bool header = true; at < text.size();) {
      auto [cell, quoted] = read_cell(text, at);
      if (header) {
        const std::size_t colon = cell.find(':');
        const auto type = epochcut::parse_type(std::string_view(cell).substr(colon + 1));
        if (colon == std::string::npos || !type) throw broken(relation, "the header must say name:type, not \"" + cell + "\"");
        table.add(cell.substr(0, colon), epochcut::Role::value, *type);
      } else {
        if (column == table.fields.size()) throw broken(relation, "a line has too many cells");
        epochcut::Column& to = table.fields[column++].column;
        cell.empty() && !quoted ? to.append_null() : epochcut::append_parsed(to, cell);
      }
      if (at == text.size()) throw broken(relation, "the last line is cut off");  // a file that is still being written, perhaps
      if (text[at++] == ',') continue;
      if (!header && column != table.fields.size()) throw broken(relation, "a line has too few cells");
      header = false, column = 0;
    }
    return table;
  }

 private:
  static std::pair<std::string, bool> read_cell(const std::string& text, std::size_t& at) {
    std::string cell;
    if (text[at] != '"') {
      while (at < text.size() && text[at] != ',' && text[at] != '\n') cell += text[at++];
      return {cell, false};
    }
    for (++at; at < text.size(); ++at) {
      if (text[at] == '"' && (++at == text.size() || text[at] != '"')) return {cell, true};
      cell += text[at];
    }
    return {cell, true};
  }
  static epochcut::Failure broken(const std::string& relation, const std::string& why) { return {epochcut::Reason::incomplete, relation + ".csv: " + why}; }

  std::string path_;
};
static_assert(epochcut::Follower<CsvFolder>);
