#include "persist/crc64.h"

/* A CRC is linear, so the entry of a byte is the sum of those of its bits: a row is made from the
 * eight that have one bit set. */
#define BIT(byte, i, k) ((byte) >> (i)&1 ? (k) : 0)
#define ENTRY(b, k0, k1, k2, k3, k4, k5, k6, k7)                                                   \
    (BIT(b, 0, k0) ^ BIT(b, 1, k1) ^ BIT(b, 2, k2) ^ BIT(b, 3, k3) ^ BIT(b, 4, k4) ^               \
     BIT(b, 5, k5) ^ BIT(b, 6, k6) ^ BIT(b, 7, k7))
#define FOUR(b, ...)                                                                               \
    ENTRY((b), __VA_ARGS__), ENTRY((b) + 1, __VA_ARGS__), ENTRY((b) + 2, __VA_ARGS__),             \
        ENTRY((b) + 3, __VA_ARGS__)
#define SIXTEEN(b, ...)                                                                            \
    FOUR(b, __VA_ARGS__), FOUR((b) + 4, __VA_ARGS__), FOUR((b) + 8, __VA_ARGS__),                  \
        FOUR((b) + 12, __VA_ARGS__)
#define SIXTY_FOUR(b, ...)                                                                         \
    SIXTEEN(b, __VA_ARGS__), SIXTEEN((b) + 16, __VA_ARGS__), SIXTEEN((b) + 32, __VA_ARGS__),       \
        SIXTEEN((b) + 48, __VA_ARGS__)
#define ROW(...)                                                                                   \
    {                                                                                              \
        SIXTY_FOUR(0, __VA_ARGS__), SIXTY_FOUR(64, __VA_ARGS__), SIXTY_FOUR(128, __VA_ARGS__),     \
            SIXTY_FOUR(192, __VA_ARGS__)                                                           \
    }

/* [n][b]: what byte b adds when n more bytes follow it. */
/* clang-format off */
static const uint64_t table[8][256] = {
    ROW(0x7ad870c830358979, 0xf5b0e190606b12f2, 0xc038e5739841b68f, 0xab28ecb46814fe75, 0x7d08ff3b88be6f81, 0xfa11fe77117cdf02, 0xdf7adabd7a6e2d6f, 0x95ac9329ac4bc9b5),
    ROW(0x89e99ffd73bddf69, 0x388a19a9bfec2db9, 0x711433537fd85b72, 0xe22866a6ffb0b6e4, 0xef09eb1ea7f6fea3, 0xf54af06e177a6e2d, 0xc1ccc68f76634f31, 0xa8c0ab4db4510d09),
    ROW(0xf4125129ce4038be, 0xc37d8400c417e217, 0xada22e52d0b85745, 0x701d7af6f9e73de1, 0xe03af5edf3ce7bc2, 0xeb2ccd88bf0b64ef, 0xfd00bd4226815ab5, 0xd1585cd715952601),
    ROW(0x8ce168638c796306, 0x329bf69440655567, 0x6537ed2880caaace, 0xca6fda510195559c, 0xbf8692f15bbd3853, 0x545403b1efede3cd, 0xa8a80763dfdbc79a, 0x7a092894e7201c5f),
    ROW(0x3504e58b9ba6dd1e, 0x6a09cb17374dba3c, 0xd413962e6e9b7478, 0x837e0a0f85a17b9b, 0x2da5324c53d5645d, 0x5b4a6498a7aac8ba, 0xb694c9314f559174, 0x4670b431c63cb183),
    ROW(0xe39d1389931b9354, 0xec6301407ea0b5c3, 0xf39f24d3a5d6f8ed, 0xcc676ff4133a62b1, 0xb397f9bb7ee35609, 0x4c76d525a5513f79, 0x98edaa4b4aa27ef2, 0x1a8272c5cdd36e8f),
    ROW(0x62a95de6e302eff2, 0xc552bbcdc605dfe4, 0xa1fc51c8d49c2ca3, 0x68a185c2f1afca2d, 0xd1430b85e35f945a, 0x89df31589e28bbdf, 0x38e744e264c6e4d5, 0x71ce89c4c98dc9aa),
    ROW(0x381d0015c96f4444, 0x703a002b92de8888, 0xe074005725bd1110, 0xebb126fd13edb14b, 0xfc3b6ba97f4cf1fd, 0xd32ff101a60e7091, 0x8d06c450148b7249, 0x3154aef3718177f9),
};
/* clang-format on */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as they are");

uint64_t crc64(uint64_t crc, struct bytes bytes)
{
    const char *p = bytes.data;
    size_t left = bytes.size;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        word ^= crc;
        crc = 0;
        for (unsigned i = 0; i < 8; i++) crc ^= table[7 - i][word >> (8 * i) & 0xff];
    }
    for (; left > 0; left--, p++) crc = table[0][(crc ^ (uint8_t)*p) & 0xff] ^ crc >> 8;
    return crc;
}
