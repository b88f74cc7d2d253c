# shellcheck shell=sh
# strongSwan's pki in shell functions; the caller sets root (trust anchor) and work (folder).

step() { printf '\n== %s\n' "$*"; }

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# pki COMMAND...: without its complaints about plugins that Debian packages separately
pki() {
    if command pki "$@" 2>"$work/pki.log"; then code=0; else code=$?; fi
    grep -v "^plugin '.*failed to load" "$work/pki.log" >&2 || true
    return $code
}

# est_url EST_URL: pki before 5.9.11 knows no label; a path in its URL goes before /.well-known/est
est_url() { url=${1%%/.well-known/est*}${1#*/.well-known/est}; }

new_key() {
    case $1 in
    ec) pki --gen --type ecdsa --size 256 --outform pem >"$2" ;;
    rsa) pki --gen --type rsa --size 2048 --outform pem >"$2" ;;
    *) fail "the key type is ec or rsa, not $1" ;;
    esac
}

trust_root() {
    step "estca: trust $root and nothing else"
    rm -rf "$work/ca"
    mkdir "$work/ca"
    pki --estca --url "$url" --cacert "$root" --caout "$work/ca/ca.pem" --outform pem ||
        fail "no CA certificates"
    cat "$work"/ca/*.pem >"$work/cacerts.pem"
}

# enroll CSR OUTPUT_PEM MOST_SECONDS ARGUMENT...: after a 202 it polls; 0 is for ever
enroll() {
    csr=$1 certificate=$2 most=$3
    shift 3
    for ca in "$work"/ca/*.pem; do set -- "$@" --cacert "$ca"; done
    pki --est --url "$url" --in "$csr" --maxpolltime "$most" --outform pem "$@" >"$certificate" ||
        fail "$certificate was not issued"
    set --
    for ca in "$work"/ca/*.pem; do set -- "$@" --cacert "$ca"; done
    pki --verify --in "$certificate" "$@" || fail "$certificate does not chain up to $root"
}
