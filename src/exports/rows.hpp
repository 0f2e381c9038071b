// How rows look in a file: JSON objects as the database made them, or CSV (RFC 4180) with a header.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "exports/exports.hpp"

namespace cognive::exports {

// The members of every row of a kind, in their order. None: rows differ, and cannot be CSV.
std::span<const std::string_view> columns_of(ExportKind kind);

void append_header(std::string& out, std::span<const std::string_view> columns);

// Appends a line of CSV made of a JSON object whose members are these columns: numbers as they are written, null as
// nothing, objects as JSON. Text that a spreadsheet would take for a formula gets an apostrophe before it. Throws
// std::logic_error when `row` has other members.
void append_csv(std::string& out, std::string& row, std::span<const std::string_view> columns);

}  // namespace cognive::exports
