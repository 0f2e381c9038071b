#!/usr/bin/env bash
# Fetches the scripts of the pages /docs and /redoc, which travel inside the binary, into build/page-assets: tools/page_assets.sh
# Nothing is asked when they are there already. They are taken as they were published, or not at all; but for a picture that ReDoc
# would fetch from another host.
set -euo pipefail
cd "$(dirname "$0")/.."
assets=build/page-assets
# package, version, SHA-256 of its archive, and the files of it
packages="
swagger-ui-dist 5.35.0 1b8e891893404ea4c3558b6a87e2a3e494e7eedba41168c2ece5800a391a6ea6 swagger-ui-bundle.js swagger-ui.css LICENSE NOTICE swagger-ui-bundle.js.LICENSE.txt
redoc 2.5.3 e09cc6eb1af62e493e92ebff1ff98b5917ff4018f24ef9be91a3d97998987a73 bundles/redoc.standalone.js LICENSE bundles/redoc.standalone.js.LICENSE.txt
"
# Written at the very end, so that what broke off is begun anew.
fetched=$assets/fetched
cmp -s "$fetched" tools/page_assets.sh && exit 0

echo "Fetching the scripts of /docs and /redoc" >&2
mkdir -p "$assets"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
licences=$work/licences.txt
while read -r package version checksum files; do
  [ -n "$package" ] || continue
  (cd "$work" && npm pack "$package@$version" --silent --loglevel=error >/dev/null)
  echo "$checksum  $work/$package-$version.tgz" | sha256sum --check --status ||
    { echo "page_assets.sh: $package $version is not what was published" >&2; exit 1; }
  tar -xzf "$work/$package-$version.tgz" -C "$work"
  printf '%s %s\n\n' "$package" "$version" >>"$licences"
  for file in $files; do
    case "$file" in
      *.js | *.css) sed 's#https://cdn.redoc.ly/redoc/logo-mini.svg#data:,#' "$work/package/$file" | gzip -9nc >"$assets/$(basename "$file").gz" ;;
      *) { cat "$work/package/$file"; echo; } >>"$licences" ;;
    esac
  done
  rm -rf "$work/package"
done <<<"$packages"
gzip -9nc "$licences" >"$assets/licences.txt.gz"
cp tools/page_assets.sh "$fetched"
