#include "prices/store.hpp"

namespace cognive::prices::store {
namespace {

using Type = pg::ArrayBuilder::Type;

constexpr pg::Query edition_query{"catalogue_edition",
                                  "SELECT (SELECT count(*) FROM llm_catalogue_imports), "
                                  "(SELECT id FROM llm_catalogue_imports ORDER BY imported_at DESC, id DESC LIMIT 1), "
                                  "(SELECT count(*) FROM llm_price_overrides), "
                                  "(SELECT id FROM llm_price_overrides ORDER BY created_at DESC, id DESC LIMIT 1)"};

// Three reads of one moment.
constexpr pg::Query snapshot_query{"catalogue_snapshot", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"};

constexpr pg::Query providers_query{
    "catalogue_providers",
    "SELECT id, provider_match, model_match, fallback_providers FROM llm_providers ORDER BY position, id"};

constexpr pg::Query models_query{"catalogue_models",
                                 "SELECT provider_id, id, match FROM llm_models ORDER BY provider_id, position, id"};

constexpr pg::Query versions_query{
    "catalogue_versions",
    "SELECT provider, model, id, version, effective_from, rates, windows FROM llm_pricing "
    "ORDER BY provider, model, effective_from, version"};

constexpr pg::Query newest_retrieved_query{"catalogue_newest_retrieved",
                                           "SELECT max(retrieved) FROM llm_catalogue_imports"};

constexpr pg::Query overrides_query{
    "catalogue_overrides",
    "SELECT team_id, provider, model, id, effective_from, rates, windows FROM llm_price_overrides "
    "ORDER BY team_id, provider, model, effective_from, created_at, id"};

constexpr pg::Query insert_override_query{
    "price_override_insert",
    "INSERT INTO llm_price_overrides (id, team_id, provider, model, effective_from, rates, windows, note) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING created_at"};

#define COGNIVE_OVERRIDE_COLUMNS \
  "o.id, o.team_id, t.name, o.provider, o.model, o.effective_from, o.rates, o.windows, o.note, o.created_at"

constexpr pg::Query find_override_query{
    "price_override_find", "SELECT " COGNIVE_OVERRIDE_COLUMNS
                           " FROM llm_price_overrides o LEFT JOIN teams t ON t.id = o.team_id WHERE o.id = $1"};

// A team sees its own overrides and the organisation's.
constexpr pg::Query list_overrides_query{
    "price_override_list", "SELECT " COGNIVE_OVERRIDE_COLUMNS
                           " FROM llm_price_overrides o LEFT JOIN teams t ON t.id = o.team_id "
                           "WHERE ($1::uuid IS NULL OR o.team_id = $1 OR o.team_id IS NULL) "
                           "AND ($2::text IS NULL OR t.name = $2) AND ($3::text IS NULL OR o.provider = $3) "
                           "AND ($4::text IS NULL OR o.model = $4) "
                           "AND ($5::timestamptz IS NULL OR (o.created_at, o.id) < ($5, $6)) "
                           "ORDER BY o.created_at DESC, o.id DESC LIMIT $7"};

#undef COGNIVE_OVERRIDE_COLUMNS

// SHARE ROW EXCLUSIVE conflicts with itself and with writers, not with readers.
constexpr pg::Query lock_query{"catalogue_lock", "LOCK TABLE llm_catalogue_imports IN SHARE ROW EXCLUSIVE MODE"};

// Every part of such a statement sees the rows as they were before it.
constexpr pg::Query put_providers_query{
    "catalogue_put_providers",
    "WITH wanted AS (SELECT position, id, name, provider_match, model_match, string_to_array(fallbacks, ',') AS "
    "fallbacks "
    "FROM unnest($1::int[], $2::text[], $3::text[], $4::jsonb[], $5::jsonb[], $6::text[]) "
    "AS row (position, id, name, provider_match, model_match, fallbacks)), "
    "written AS (INSERT INTO llm_providers AS p (position, id, name, provider_match, model_match, fallback_providers) "
    "SELECT * FROM wanted ON CONFLICT (id) DO UPDATE SET position = excluded.position, name = excluded.name, "
    "provider_match = excluded.provider_match, model_match = excluded.model_match, "
    "fallback_providers = excluded.fallback_providers "
    "WHERE (p.position, p.name, p.provider_match, p.model_match, p.fallback_providers) IS DISTINCT FROM "
    "(excluded.position, excluded.name, excluded.provider_match, excluded.model_match, excluded.fallback_providers) "
    "RETURNING 1) "
    "SELECT (SELECT count(*) FROM written), (SELECT count(*) FROM wanted w JOIN llm_providers p ON p.id = w.id "
    "WHERE (p.name, p.provider_match, p.model_match, p.fallback_providers) IS DISTINCT FROM "
    "(w.name, w.provider_match, w.model_match, w.fallbacks))"};

constexpr pg::Query put_models_query{
    "catalogue_put_models",
    "WITH wanted AS (SELECT * FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::jsonb[], $6::bigint[], "
    "$7::boolean[]) AS row (position, provider_id, id, name, match, context_window, deprecated)), "
    "written AS (INSERT INTO llm_models AS m (position, provider_id, id, name, match, context_window, deprecated) "
    "SELECT * FROM wanted ON CONFLICT (provider_id, id) DO UPDATE SET position = excluded.position, name = "
    "excluded.name, "
    "match = excluded.match, context_window = excluded.context_window, deprecated = excluded.deprecated "
    "WHERE (m.position, m.name, m.match, m.context_window, m.deprecated) IS DISTINCT FROM "
    "(excluded.position, excluded.name, excluded.match, excluded.context_window, excluded.deprecated) RETURNING 1) "
    "SELECT (SELECT count(*) FROM written), (SELECT count(*) FROM wanted w JOIN llm_models m "
    "ON m.provider_id = w.provider_id AND m.id = w.id WHERE (m.name, m.match, m.context_window, m.deprecated) "
    "IS DISTINCT FROM (w.name, w.match, w.context_window, w.deprecated))"};

constexpr pg::Query insert_versions_query{
    "catalogue_insert_versions",
    "INSERT INTO llm_pricing (id, provider, model, version, effective_from, rates, windows, source, retrieved) "
    "SELECT row.*, $8, $9 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[], "
    "$6::jsonb[], "
    "$7::jsonb[]) AS row"};

constexpr pg::Query insert_import_query{
    "catalogue_insert_import",
    "INSERT INTO llm_catalogue_imports (id, source, retrieved, models_added, versions_added, refused) "
    "VALUES ($1, $2, $3, $4, $5, $6)"};

// A value of our own making that does not parse is damage, not input.
template <typename F>
void parsed(std::string text, F read) {
  const auto walked = json::walk(text, [&](json::Cursor& in) { read(in); });
  if (!walked) throw std::logic_error("the price catalogue in the database is damaged: " + walked.error().detail);
}

std::optional<Matcher> matcher_of(const std::optional<json::Object>& rule) {
  std::optional<Matcher> out;
  if (rule) parsed(rule->text, [&](json::Cursor& in) { out.emplace(Matcher::read(in)); });
  return out;
}

using VersionsByModel = std::map<std::pair<std::string, std::string>, std::vector<PriceVersion>>;

VersionsByModel read_versions(const pg::Rows& rows) {
  VersionsByModel out;
  for (int i = 0; i < rows.size(); ++i) {
    std::pair<std::string, std::string> key;
    PriceVersion version;
    std::string rates;
    std::string windows;
    rows[i].read(key.first, key.second, version.id, version.version, version.effective_from, rates, windows);
    parsed(std::move(rates), [&](json::Cursor& in) { version.card.rates = read_rates(in); });
    parsed(std::move(windows), [&](json::Cursor& in) { version.card.windows = read_windows(in); });
    out[std::move(key)].push_back(std::move(version));
  }
  return out;
}

std::vector<Override> read_overrides(const pg::Rows& rows) {
  std::vector<Override> out;
  for (int i = 0; i < rows.size(); ++i) {
    Override one;
    PriceVersion version;
    std::optional<std::string> rates;
    std::string windows;
    rows[i].read(one.team_id, one.model.provider, one.model.id, version.id, version.effective_from, rates, windows);
    version.source = one.team_id ? PriceSource::team : PriceSource::organisation;
    version.ends = !rates;
    if (rates) parsed(std::move(*rates), [&](json::Cursor& in) { version.card.rates = read_rates(in); });
    parsed(std::move(windows), [&](json::Cursor& in) { version.card.windows = read_windows(in); });
    const bool is_next = out.empty() || out.back().team_id != one.team_id ||
                         out.back().model.provider != one.model.provider || out.back().model.id != one.model.id;
    if (is_next) out.push_back(std::move(one));
    out.back().model.versions.push_back(std::move(version));
  }
  return out;
}

std::vector<PriceOverride> price_overrides(const pg::Rows& rows) {
  std::vector<PriceOverride> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& one = out[static_cast<std::size_t>(i)];
    std::string windows;
    rows[i].read(one.id, one.team_id, one.team, one.provider, one.model, one.effective_from, one.rates, windows,
                 one.note, one.created_at);
    // jsonb has a spelling of its own.
    if (one.rates) parsed(one.rates->text, [&](json::Cursor& in) { one.rates->text = rates_json(read_rates(in)); });
    parsed(std::move(windows), [&](json::Cursor& in) { one.windows = OverrideWindow::of(read_windows(in)); });
  }
  return out;
}

std::optional<pg::Json> json_of(const std::optional<std::string>& text) {
  return text ? std::optional(pg::Json{*text}) : std::nullopt;
}

}  // namespace

namespace {

Edition edition_of(const pg::Rows& rows) {
  Edition out;
  rows[0].read(out.imports, out.import_id, out.overrides, out.override_id);
  return out;
}

}  // namespace

Async<Edition> edition(pg::Pool& database, Deadline deadline) {
  co_return edition_of(co_await database.execute(edition_query, {}, deadline));
}

Async<Edition> edition(pg::Transaction& transaction) {
  co_return edition_of(co_await transaction.execute(edition_query, {}));
}

Async<Catalogue> load(pg::Transaction& transaction) {
  co_await transaction.execute(snapshot_query, {});
  const auto as_of = co_await edition(transaction);
  const auto provider_rows = co_await transaction.execute(providers_query, {});
  const auto model_rows = co_await transaction.execute(models_query, {});
  auto versions = read_versions(co_await transaction.execute(versions_query, {}));
  auto overrides = read_overrides(co_await transaction.execute(overrides_query, {}));

  std::map<std::string, std::vector<Model>> models;
  for (int i = 0; i < model_rows.size(); ++i) {
    Model model;
    std::optional<json::Object> match;
    model_rows[i].read(model.provider, model.id, match);
    model.match = matcher_of(match);
    model.versions = std::move(versions[{model.provider, model.id}]);
    models[model.provider].push_back(std::move(model));
  }
  std::vector<Provider> providers;
  for (int i = 0; i < provider_rows.size(); ++i) {
    Provider provider;
    std::optional<json::Object> provider_match;
    std::optional<json::Object> model_match;
    provider_rows[i].read(provider.id, provider_match, model_match, provider.fallback_providers);
    provider.provider_match = matcher_of(provider_match);
    provider.model_match = matcher_of(model_match);
    provider.models = std::move(models[provider.id]);
    providers.push_back(std::move(provider));
  }
  co_return Catalogue(std::move(providers), std::move(overrides), as_of);
}

Async<Held> lock(pg::Transaction& transaction) {
  co_await transaction.execute(lock_query, {});
  const auto rows = co_await transaction.execute(models_query, {});
  auto versions = read_versions(co_await transaction.execute(versions_query, {}));
  Held held;
  for (int i = 0; i < rows.size(); ++i) {
    Held::ModelRow model;
    json::Object match;
    rows[i].read(model.provider, model.id, match);
    model.versions = std::move(versions[{model.provider, model.id}]);
    held.models.push_back(std::move(model));
  }
  co_return held;
}

Async<Put> put_providers(pg::Transaction& transaction, const DataSet& data) {
  pg::ArrayBuilder position(Type::int4);
  pg::ArrayBuilder id(Type::text);
  pg::ArrayBuilder name(Type::text);
  pg::ArrayBuilder provider_match(Type::jsonb);
  pg::ArrayBuilder model_match(Type::jsonb);
  pg::ArrayBuilder fallbacks(Type::text);
  std::int32_t index = 0;
  for (const auto& provider : data.providers) {
    position.add(index++);
    id.add(std::string_view(provider.id));
    name.add(std::string_view(provider.name));
    provider_match.add(json_of(provider.provider_match));
    model_match.add(json_of(provider.model_match));
    fallbacks.add(std::string_view(fmt::format("{}", fmt::join(provider.fallback_providers, ","))));
  }
  pg::Params params;
  for (auto* array : {&position, &id, &name, &provider_match, &model_match, &fallbacks})
    std::move(*array).move_into(params);
  const auto rows = co_await transaction.execute(put_providers_query, std::move(params));
  Put put;
  rows[0].read(put.written, put.changed);
  co_return put;
}

Async<Put> put_models(pg::Transaction& transaction, const DataSet& data) {
  pg::ArrayBuilder position(Type::int4);
  pg::ArrayBuilder provider_id(Type::text);
  pg::ArrayBuilder id(Type::text);
  pg::ArrayBuilder name(Type::text);
  pg::ArrayBuilder match(Type::jsonb);
  pg::ArrayBuilder context_window(Type::int8);
  pg::ArrayBuilder deprecated(Type::boolean);
  for (const auto& provider : data.providers) {
    std::int32_t index = 0;
    for (const auto& model : provider.models) {
      position.add(index++);
      provider_id.add(std::string_view(provider.id));
      id.add(std::string_view(model.id));
      name.add(model.name ? std::optional<std::string_view>(*model.name) : std::nullopt);
      match.add(pg::Json{model.match});
      context_window.add(model.context_window);
      deprecated.add(model.deprecated);
    }
  }
  pg::Params params;
  for (auto* array : {&position, &provider_id, &id, &name, &match, &context_window, &deprecated}) {
    std::move(*array).move_into(params);
  }
  const auto rows = co_await transaction.execute(put_models_query, std::move(params));
  Put put;
  rows[0].read(put.written, put.changed);
  co_return put;
}

Async<> insert_versions(pg::Transaction& transaction, const std::vector<NewVersion>& versions, const DataSet& data) {
  pg::ArrayBuilder id(Type::uuid);
  pg::ArrayBuilder provider(Type::text);
  pg::ArrayBuilder model(Type::text);
  pg::ArrayBuilder number(Type::int8);
  pg::ArrayBuilder effective_from(Type::timestamptz);
  pg::ArrayBuilder rates(Type::jsonb);
  pg::ArrayBuilder windows(Type::jsonb);
  for (const auto& version : versions) {
    id.add(Uuid::make());
    provider.add(std::string_view(version.provider));
    model.add(std::string_view(version.model));
    number.add(version.version);
    effective_from.add(version.from);
    const auto rates_text = rates_json(version.card.rates);
    const auto windows_text = windows_json(version.card.windows);
    rates.add(pg::Json{rates_text});
    windows.add(pg::Json{windows_text});
  }
  pg::Params params;
  for (auto* array : {&id, &provider, &model, &number, &effective_from, &rates, &windows})
    std::move(*array).move_into(params);
  params.add(data.source);
  params.add(data.retrieved);
  co_await transaction.execute(insert_versions_query, std::move(params));
}

Async<> insert_import(pg::Transaction& transaction, const DataSet& data, const ImportReport& report) {
  auto params = pg::Params::of(Uuid::make(), data.source, data.retrieved, report.models_added, report.versions_added,
                               static_cast<std::int64_t>(report.refused.size()));
  co_await transaction.execute(insert_import_query, std::move(params));
}

Async<std::optional<std::chrono::sys_days>> newest_retrieved(pg::Transaction& transaction) {
  co_await transaction.execute(lock_query, {});
  const auto rows = co_await transaction.execute(newest_retrieved_query, {});
  co_return rows[0].at<std::optional<std::chrono::sys_days>>(0);
}

Async<> lock_for_override(pg::Transaction& transaction) {
  co_await transaction.execute(lock_query, {});
}

Async<std::optional<Timestamp>> insert_override(pg::Transaction& transaction, const PriceOverride& row) {
  const auto windows = json::encode(row.windows);
  auto params =
      pg::Params::of(row.id, row.team_id, row.provider, row.model, row.effective_from,
                     row.rates ? std::optional(pg::Json{row.rates->text}) : std::nullopt, pg::Json{windows}, row.note);
  const auto rows = co_await transaction.execute(insert_override_query, std::move(params));
  if (rows.empty()) co_return std::nullopt;
  co_return rows[0].at<Timestamp>(0);
}

Async<std::optional<PriceOverride>> find_override(pg::Transaction& transaction, Uuid id) {
  auto found = price_overrides(co_await transaction.execute(find_override_query, pg::Params::of(id)));
  if (found.empty()) co_return std::nullopt;
  co_return std::move(found.front());
}

Async<std::vector<PriceOverride>> list_overrides(pg::Reader database, const OverrideList& query,
                                                 const Principal& principal, Deadline deadline) {
  auto params =
      pg::Params::of(principal.team_id, query.team, query.provider, query.model, query.cursor, query.limit + 1);
  co_return price_overrides(co_await database.execute(list_overrides_query, std::move(params), deadline));
}

}  // namespace cognive::prices::store
