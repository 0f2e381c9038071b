#include "base/compression.hpp"
#include "base/crypto.hpp"
#include "base/resources.hpp"
#include "documents/documents.hpp"
#include "documents/tags.hpp"
#include "http/representation.hpp"
#include "json/entity_tag.hpp"

namespace cognive::documents {
namespace {

constexpr std::string_view tag = "System";

// Scripts and styles come from here, and nothing from anywhere else. Both programs set styles of elements by
// themselves; Swagger UI draws its icons from data: URLs.
constexpr std::string_view policy =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src "
    "'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

constexpr std::string_view docs_page = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
)";

// https://swagger.io/docs/open-source-tools/swagger-ui/usage/configuration/
constexpr std::string_view docs_start = R"(SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
});
)";

constexpr std::string_view redoc_page = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
</head>
<body>
<div id="page"></div>
<script src="/redoc/redoc.standalone.js"></script>
<script src="/redoc/start.js"></script>
</body>
</html>
)";

// https://redocly.com/docs/redoc/config: its search would need a worker made of a blob.
constexpr std::string_view redoc_start = R"(Redoc.init("/openapi.json", {
  disableSearch: true,
  hideDownloadButton: false,
  sortRequiredPropsFirst: true,
}, document.getElementById("page"));
)";

struct Page {
  std::string_view path;
  std::string_view id;
  std::string_view summary;
  std::string_view description;
  std::string_view html;
};

constexpr Page pages[] = {
    {"/docs", "docs", "The API to try",
     "A page that tries every operation (Swagger UI). It asks no other host for anything.", docs_page},
    {"/redoc", "redoc", "The API to read", "A page to read (ReDoc). It asks no other host for anything.", redoc_page},
};

// What a page asks for.
struct Asset {
  std::string_view name;
  std::string_view media_type;
  std::string_view resource;  // compressed; empty: see text
  std::string_view text;
};

constexpr std::string_view javascript = "text/javascript; charset=utf-8";

constexpr Asset docs_assets[] = {
    {"swagger-ui-bundle.js", javascript, "build/page-assets/swagger-ui-bundle.js.gz", {}},
    {"swagger-ui.css", "text/css; charset=utf-8", "build/page-assets/swagger-ui.css.gz", {}},
    {"start.js", javascript, {}, docs_start},
    {"licences.txt", "text/plain; charset=utf-8", "build/page-assets/licences.txt.gz", {}},
};

constexpr Asset redoc_assets[] = {
    {"redoc.standalone.js", javascript, "build/page-assets/redoc.standalone.js.gz", {}},
    {"start.js", javascript, {}, redoc_start},
    {"licences.txt", "text/plain; charset=utf-8", "build/page-assets/licences.txt.gz", {}},
};

struct AssetPath {
  std::string file;
  static constexpr auto fields() {
    return json::fields(json::field("file", &AssetPath::file, "Its name.", {.example = R"("start.js")"}));
  }
};

void append_escaped(std::string& out, std::string_view raw) {
  for (const char c : raw) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      default:
        out.push_back(c);
    }
  }
}

std::string page_of(const Page& page, std::string_view title) {
  constexpr std::string_view place = "{title}";
  const auto at = page.html.find(place);
  std::string out(page.html.substr(0, at));
  append_escaped(out, title);
  out += page.html.substr(at + place.size());
  return out;
}

// It changes with the version of the binary only: clients may keep it for minutes, and ask whether theirs is still the
// same (RFC 9110, section 13.1.2).
http::Response cacheable(std::string_view body, std::string_view type, const std::string& entity_tag,
                         const http::Request& request) {
  http::Response response{.status = 200, .content_type = std::string(type), .body = {}, .headers = {}};
  response.headers = {{"Cache-Control", "public, max-age=300"}, {"ETag", entity_tag}};
  if (json::names_tag(request.header("if-none-match"), entity_tag)) {
    response.status = 304;
    response.content_type.clear();
  } else {
    response.body = body;
  }
  return response;
}

http::Response answer_of(const Asset& asset, const http::Request& request) {
  if (asset.resource.empty()) return cacheable(asset.text, asset.media_type, json::entity_tag(asset.text), request);
  const auto compressed = resource(asset.resource);
  auto response = cacheable(compressed, asset.media_type, json::entity_tag(compressed), request);
  if (response.status != 200) return response;
  if (http::accepts_gzip(request)) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    response.headers.emplace_back("Vary", "Accept-Encoding");
  } else {
    constexpr std::size_t bytes_max = std::size_t{16} << 20U;
    response.body = *decompress(compressed, Compression::gzip, bytes_max);
  }
  return response;
}

Async<http::Response> asset(std::span<const Asset> assets, AssetPath path, const http::Request& request) {
  for (const auto& one : assets) {
    if (one.name == path.file) co_return answer_of(one, request);
  }
  co_return http::problem({Code::not_found, "The page has no such file.", {}}, request);
}

Async<http::Response> done(http::Response response) {
  co_return response;
}

void add_assets(http::Router& router, std::string_view path, std::string_view id, std::span<const Asset> assets) {
  router.add_raw<AssetPath>({.method = "GET",
                             .path = path,
                             .id = id,
                             .tag = tag,
                             .summary = "A file of that page",
                             .description = "Scripts and styles, and their licences (licences.txt).",
                             .permission = http::open_to_all},
                            {.parameters = {}, .body = {}, .answer = R"({"type":"string"})", .answer_type = "*/*"},
                            [assets](const Call&, AssetPath asked, const http::Request& request) {
                              return asset(assets, std::move(asked), request);
                            });
}

}  // namespace

std::string openapi(const http::Router& router, const Settings& settings) {
  return router.openapi(settings.app_name, COGNIVE_VERSION, tags());
}

void add_routes(http::Router& router, const Settings& settings) {
  for (const auto& page : pages) {
    router.add_raw({.method = "GET",
                    .path = page.path,
                    .id = page.id,
                    .tag = tag,
                    .summary = page.summary,
                    .description = page.description,
                    .permission = http::open_to_all},
                   {.parameters = {}, .body = {}, .answer = R"({"type":"string"})", .answer_type = "text/html"},
                   [html = page_of(page, settings.app_name)](const Call&, const http::Request&) {
                     return done({.status = 200,
                                  .content_type = "text/html; charset=utf-8",
                                  .body = html,
                                  .headers = {{"Content-Security-Policy", std::string(policy)}}});
                   });
  }
  add_assets(router, "/docs/{file}", "docs_file", docs_assets);
  add_assets(router, "/redoc/{file}", "redoc_file", redoc_assets);
  router.add_raw({.method = "GET",
                  .path = "/openapi.json",
                  .id = "openapi",
                  .tag = tag,
                  .summary = "This description",
                  .description = "OpenAPI 3.1.0. It changes with the version of the service only.",
                  .permission = http::open_to_all},
                 {.parameters = {}, .body = {}, .answer = R"({"type":"object"})"},
                 [&router, &settings](const Call&, const http::Request& request) {
                   // Routes do not change once the server listens.
                   static const std::string description = openapi(router, settings);
                   static const std::string entity_tag = json::entity_tag(description);
                   return done(cacheable(description, "application/json", entity_tag, request));
                 });
}

}  // namespace cognive::documents
