/* Is a certificate good, by the content of a compact set? As firmware would ask: no allocation but
 * for the file, 28 octets of each column touched. The signature is another's job: mbedTLS's,
 * wolfSSL's, or here that of `openssl cms -verify`, which writes the content.
 *
 *     check_set CONTENT SERIAL_HEX NOT_BEFORE NOT_AFTER      seconds since 1970
 *
 * Prints good, revoked or not-covered; exits with 0, 1 or 3, and with 4 for what is no set.
 * Written from docs/compact-set.md; C99 and nothing else.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOOD = 0, REVOKED = 1, USAGE = 2, NOT_COVERED = 3, NO_SET = 4, HEADER = 80, BAND = 28 };

static uint64_t number(const uint8_t *at, int octets)
{
    uint64_t found = 0;
    while (octets--) found = found << 8 | *at++;
    return found;
}

/* SHA-256 (FIPS 180-4) of at most 55 octets: one block. Devices have their own. */
static uint32_t root_bits(int n, int cube) /* fraction of a prime's root, as FIPS 180-4 4.2.2 */
{
    int prime = 1, i;
    while (n >= 0)
        for (prime++, i = 2, n--; i * i <= prime; i++)
            if (prime % i == 0) { n++; break; }
    /* 32 bits behind the point, by bisection; the product needs up to 128 bits */
    unsigned __int128 low = 0, high = (unsigned __int128)32 << 32;
    while (high - low > 1) {
        unsigned __int128 middle = (low + high) / 2;
        unsigned __int128 power = cube ? middle * middle * middle : middle * middle;
        if (power <= (unsigned __int128)prime << (cube ? 96 : 64)) low = middle; else high = middle;
    }
    return (uint32_t)low;
}

#define ROTATED(x, n) ((x) >> (n) | (x) << (32 - (n)))

static void sha256(const uint8_t *data, size_t size, uint8_t digest[32])
{
    uint8_t block[64] = {0};
    uint32_t w[64], h[8], v[8];
    int i;
    memcpy(block, data, size);
    block[size] = 0x80;
    block[62] = (uint8_t)(size >> 5);
    block[63] = (uint8_t)(size << 3);
    for (i = 0; i < 16; i++) w[i] = (uint32_t)number(block + 4 * i, 4);
    for (; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (ROTATED(a, 7) ^ ROTATED(a, 18) ^ a >> 3)
             + (ROTATED(b, 17) ^ ROTATED(b, 19) ^ b >> 10);
    }
    for (i = 0; i < 8; i++) v[i] = h[i] = root_bits(i, 0);
    for (i = 0; i < 64; i++) {
        uint32_t a = v[0], e = v[4];
        uint32_t one = v[7] + (ROTATED(e, 6) ^ ROTATED(e, 11) ^ ROTATED(e, 25))
                     + ((e & v[5]) ^ (~e & v[6])) + root_bits(i, 1) + w[i];
        uint32_t two = (ROTATED(a, 2) ^ ROTATED(a, 13) ^ ROTATED(a, 22))
                     + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (i = 0; i < 32; i++) digest[i] = (uint8_t)((h[i / 4] + v[i / 4]) >> (24 - 8 * (i % 4)));
}

/* Do all products of a level's columns with this key give 0? */
static int passes(const uint8_t *seed, uint8_t level, const uint8_t *serial, size_t serial_size,
                  const uint8_t *columns, unsigned count, uint32_t size)
{
    uint8_t key[8 + 1 + 20], digest[32];
    memcpy(key, seed, 8);
    key[8] = level;
    memcpy(key + 9, serial, serial_size);
    sha256(key, 9 + serial_size, digest);
    uint32_t place = (uint32_t)(number(digest, 4) * (size - BAND + 1) >> 32);
    for (unsigned n = 0; n < count; n++) {
        const uint8_t *column = columns + (size_t)n * size + place;
        uint8_t bits = 0;
        for (int i = 0; i < BAND; i++) bits ^= column[i] & digest[4 + i];
        bits ^= bits >> 4;
        bits ^= bits >> 2;
        bits ^= bits >> 1;
        if (bits & 1) return 0;
    }
    return 1;
}

static int answer(const uint8_t *set, size_t size, const uint8_t *serial, size_t serial_size,
                  uint64_t not_before, uint64_t not_after)
{
    if (size < HEADER || memcmp(set, "CSET\1", 5) != 0) return NO_SET;
    unsigned columns = set[5], identifier = set[6];
    uint32_t sieve = (uint32_t)number(set + 72, 4), decision = (uint32_t)number(set + 76, 4);
    if ((sieve != 0) != (columns != 0) || (sieve && sieve < BAND) || (decision && decision < BAND)
        || size != HEADER + identifier + (uint64_t)columns * sieve + decision)
        return NO_SET;
    if (not_before < number(set + 32, 8) || not_before > number(set + 40, 8)
        || not_after < number(set + 48, 8))
        return NOT_COVERED;
    if (number(set + 68, 4) == 0) return GOOD;
    while (serial_size && *serial == 0) serial++, serial_size--;
    if (serial_size > 20) return NOT_COVERED;
    const uint8_t *seed = set + 56, *first = set + HEADER + identifier;
    const uint8_t *last = first + (size_t)columns * sieve;
    if (columns && !passes(seed, 1, serial, serial_size, first, columns, sieve)) return GOOD;
    if (decision && !passes(seed, 2, serial, serial_size, last, 1, decision)) return GOOD;
    return REVOKED;
}

int main(int count, char **values)
{
    static const char *names[] = {"good", "revoked", "", "not-covered", "not-believed"};
    uint8_t serial[64], *set = NULL;
    size_t size = 0, room = 0, serial_size = 0;
    FILE *file = count == 5 ? fopen(values[1], "rb") : NULL;
    if (!file) return USAGE;
    do {
        if (size == room && !(set = realloc(set, room += 1 << 20))) return USAGE;
        size += fread(set + size, 1, room - size, file);
    } while (size == room);
    unsigned octet;
    for (const char *at = values[2]; serial_size < sizeof serial && sscanf(at, "%2x", &octet) == 1;
         at += 2)
        serial[serial_size++] = (uint8_t)octet;
    int found = answer(set, size, serial, serial_size, strtoull(values[3], NULL, 10),
                       strtoull(values[4], NULL, 10));
    puts(names[found]);
    return found;
}
