#include "objects/open.hpp"

#include "objects/directory_store.hpp"
#include "objects/s3_store.hpp"

namespace cognive::objects {

Result<std::unique_ptr<Store>> open_store(const Settings& settings) {
  if (settings.storage_endpoint.empty()) {
    if (settings.storage_directory.empty()) return nullptr;
    return std::make_unique<DirectoryStore>(settings.storage_directory);
  }
  auto endpoint =
      s3::parse_endpoint(settings.storage_endpoint, settings.storage_is_secure, settings.storage_addressing);
  if (!endpoint) return fail(Code::unprocessable, "STORAGE_ENDPOINT: " + endpoint.error().detail);
  return std::make_unique<S3Store>(s3::ClientOptions{.endpoint = std::move(*endpoint),
                                                     .credentials = {.access_key = settings.storage_access_key,
                                                                     .secret_key = settings.storage_secret_key,
                                                                     .region = settings.storage_region},
                                                     .authority_file = settings.storage_authority_file,
                                                     .encryption = settings.storage_encryption,
                                                     .kms_key_id = settings.storage_kms_key_id});
}

}  // namespace cognive::objects
