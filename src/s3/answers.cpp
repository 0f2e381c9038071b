#include "s3/answers.hpp"

#include <fmt/format.h>

#include <pugixml.hpp>

#include "base/crypto.hpp"

namespace cognive::s3 {
namespace {

class Document {
 public:
  // Null when the text is no XML whose root has that name.
  pugi::xml_node root(std::string_view xml, const char* name) {
    if (!document_.load_buffer(xml.data(), xml.size(), pugi::parse_default, pugi::encoding_utf8)) return {};
    return document_.child(name);
  }

 private:
  pugi::xml_document document_;
};

std::optional<Timestamp> time_in(const pugi::xml_node& node, const char* name) {
  return Timestamp::parse(node.child_value(name));
}

// As HTML forms encode, which is what stores mean by `url`.
std::string url_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += ' ';
    } else if (text[i] == '%' && i + 2 < text.size()) {
      const auto byte = from_hex(text.substr(i + 1, 2));
      out += byte ? static_cast<char>(byte->front()) : '%';
      if (byte) i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string key_in(const pugi::xml_node& root, const pugi::xml_node& node, const char* name) {
  const std::string text = node.child_value(name);
  return std::string_view(root.child_value("EncodingType")) == "url" ? url_decoded(text) : text;
}

std::string unquoted(std::string_view etag) {
  if (etag.starts_with('"')) etag.remove_prefix(1);
  if (etag.ends_with('"')) etag.remove_suffix(1);
  return std::string(etag);
}

}  // namespace

std::optional<Fault> read_fault(std::string_view xml) {
  Document document;
  const auto root = document.root(xml, "Error");
  if (!root) return std::nullopt;
  return Fault{.code = root.child_value("Code"), .message = root.child_value("Message")};
}

std::optional<std::vector<Bucket>> read_buckets(std::string_view xml) {
  Document document;
  const auto root = document.root(xml, "ListAllMyBucketsResult");
  if (!root) return std::nullopt;
  std::vector<Bucket> out;
  for (const auto& node : root.child("Buckets").children("Bucket"))
    out.push_back({.name = node.child_value("Name"), .created_at = time_in(node, "CreationDate")});
  return out;
}

std::optional<ObjectPage> read_objects(std::string_view xml) {
  Document document;
  const auto root = document.root(xml, "ListBucketResult");
  if (!root) return std::nullopt;
  ObjectPage out;
  for (const auto& node : root.children("Contents")) {
    out.objects.push_back({.key = key_in(root, node, "Key"),
                           .bytes = node.child("Size").text().as_ullong(),
                           .etag = unquoted(node.child_value("ETag")),
                           .modified_at = time_in(node, "LastModified")});
  }
  if (root.child("IsTruncated").text().as_bool()) out.next = root.child_value("NextContinuationToken");
  return out;
}

std::optional<UploadPage> read_uploads(std::string_view xml) {
  Document document;
  const auto root = document.root(xml, "ListMultipartUploadsResult");
  if (!root) return std::nullopt;
  UploadPage out;
  for (const auto& node : root.children("Upload")) {
    out.uploads.push_back(
        {.key = key_in(root, node, "Key"), .id = node.child_value("UploadId"), .begun_at = time_in(node, "Initiated")});
  }
  if (root.child("IsTruncated").text().as_bool()) {
    out.next_key = key_in(root, root, "NextKeyMarker");
    out.next_id = root.child_value("NextUploadIdMarker");
  }
  return out;
}

std::optional<std::string> read_upload_id(std::string_view xml) {
  Document document;
  const auto root = document.root(xml, "InitiateMultipartUploadResult");
  std::string id = root.child_value("UploadId");
  if (id.empty()) return std::nullopt;
  return id;
}

bool is_completed(std::string_view xml) {
  Document document;
  return !document.root(xml, "CompleteMultipartUploadResult").empty();
}

std::optional<std::int64_t> read_lifetime(std::string_view xml) {
  Document document;
  const auto root = document.root(xml, "LifecycleConfiguration");
  if (!root) return std::nullopt;
  for (const auto& rule : root.children("Rule")) {
    const bool holds_for_all = std::string_view(rule.child_value("Prefix")).empty() &&
                               rule.child("Filter").child("Tag").empty() && rule.child("Filter").child("And").empty() &&
                               std::string_view(rule.child("Filter").child_value("Prefix")).empty();
    const auto days = rule.child("Expiration").child("Days").text().as_llong();
    if (std::string_view(rule.child_value("Status")) == "Enabled" && holds_for_all && days > 0) return days;
  }
  return 0;
}

std::string completion_of(const std::vector<Part>& parts) {
  std::string out = "<CompleteMultipartUpload>";
  for (const auto& part : parts)
    out += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>&quot;{}&quot;</ETag></Part>", part.number, part.etag);
  return out + "</CompleteMultipartUpload>";
}

std::string location_of(std::string_view region) {
  return fmt::format(
      "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>", region);
}

std::string lifetime_of(std::int64_t days) {
  const auto expiration = days == 0 ? std::string() : fmt::format("<Expiration><Days>{}</Days></Expiration>", days);
  return fmt::format(
      "<LifecycleConfiguration><Rule><ID>cognive</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>"
      "{}<AbortIncompleteMultipartUpload><DaysAfterInitiation>7"
      "</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>",
      expiration);
}

}  // namespace cognive::s3
