# shellcheck shell=sh
# EST in shell functions; the caller sets est (base URL), root (trust anchor) and work (folder).

step() { printf '\n== %s\n' "$*"; }

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# est_fetch EXPECTED_TYPE OUTPUT_DER CURL_ARGUMENT...: one exchange over explicit trust; the answer
# is base64 whatever it says about itself (RFC 8951 3.1). A 204 leaves OUTPUT_DER empty. After a 202
# (RFC 7030 4.2.3) it asks again every EST_POLL_SECONDS, and fails if that is not set.
est_fetch() {
    expected=$1 output=$2
    shift 2
    while :; do
        status=$(curl --silent --show-error --cacert "$root" --dump-header "$work/headers" \
            --output "$work/body" --write-out '%{http_code} %{content_type}' "$@") ||
            fail "no answer from $est"
        echo "$status"
        case $status in 202*) ;; *) break ;; esac
        [ -n "${EST_POLL_SECONDS:-}" ] || fail "$(grep -i '^retry-after' "$work/headers")"
        sleep "$EST_POLL_SECONDS"
    done
    case $status in
    "200 $expected"*) tr -d '\r\n' <"$work/body" | openssl base64 -d -A >"$output" ;;
    204*) : >"$output" ;;
    *) fail "the answer is $status: $(cat "$work/body" 2>/dev/null)" ;;
    esac
    [ "$output" = "$work/csrattrs.der" ] || [ -s "$output" ] || fail "the answer has no content"
}

est_get() { est_fetch "$2" "$3" "$est/$1"; }

# est_post OPERATION CSR_BASE64 OUTPUT_PEM CURL_ARGUMENT...
est_post() {
    operation=$1 csr=$2 certificate=$3
    shift 3
    rm -f "$work/body"
    est_fetch 'application/pkcs7-mime; smime-type=certs-only' "$work/answer.p7" \
        --header 'Content-Type: application/pkcs10' --data-binary "@$csr" "$@" "$est/$operation"
    openssl pkcs7 -inform DER -in "$work/answer.p7" -print_certs -out "$certificate"
    # RFC 7030 4.2.3: "only the certificate that was issued"
    [ "$(grep -c BEGIN "$certificate")" -eq 1 ] || fail "$operation: not exactly one certificate"
}

new_key() {
    case $1 in
    ec) openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2" ;;
    rsa) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$2" ;;
    *) fail "the key type is ec or rsa, not $1" ;;
    esac
}

# request KEY SUBJECT ALTERNATIVE_NAMES OUTPUT_BASE64
request() {
    openssl req -new -key "$1" -subj "$2" ${3:+-addext "subjectAltName=$3"} -outform DER |
        openssl base64 >"$4"
}

# RFC 7030 4.2.2: a renewal asks for the names of the certificate that it renews.
name_of() { openssl x509 -in "$1" -noout -subject -nameopt compat | sed 's/^subject=//'; }

alternatives_of() {
    openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null |
        sed -n 's/IP Address:/IP:/g; s/^ *\([A-Z].*:.*\)/\1/; /^X509v3/!p'
}

check_certificate() {
    openssl verify -purpose sslclient -CAfile "$root" -untrusted "$work/cacerts.pem" "$1" ||
        fail "$1 does not chain up to $root"
    openssl x509 -in "$1" -noout -pubkey >"$work/certified.pub"
    openssl pkey -in "$2" -pubout | cmp -s - "$work/certified.pub" ||
        fail "$1 certifies another key than $2"
    openssl x509 -in "$1" -noout -subject -serial -dates
}
