#include <criterion/criterion.h>

#include "persist/crc32c.h"
#include "tests/unit/random.h"

Test(crc32c, gives_the_values_of_rfc_3720)
{
    char zeros[32] = {0}, ones[32], rising[32];
    memset(ones, 0xff, sizeof ones);
    for (int i = 0; i < 32; i++) rising[i] = (char)i;
    cr_assert_eq(crc32c(0, BYTES_LITERAL("123456789")), 0xe3069283);
    cr_assert_eq(crc32c(0, bytes_make(zeros, 32)), 0x8a9136aa);
    cr_assert_eq(crc32c(0, bytes_make(ones, 32)), 0x62a8ab43);
    cr_assert_eq(crc32c(0, bytes_make(rising, 32)), 0x46dd794e);
    cr_assert_eq(crc32c(7, BYTES_LITERAL("")), 7);
}

Test(crc32c, instruction_and_table_agree_on_every_cut_and_alignment)
{
    struct random r = random_make();
    char data[300];
    for (int i = 0; i < 2000; i++) {
        for (size_t j = 0; j < sizeof data; j++) data[j] = (char)random_next(&r);
        size_t start = random_below(&r, 16), size = random_below(&r, sizeof data - 16);
        size_t cut = random_below(&r, size + 1);
        struct bytes all = bytes_make(data + start, size);
        uint32_t crc = crc32c(0, bytes_make(all.data, cut));
        crc = crc32c(crc, bytes_make(all.data + cut, size - cut));
        cr_assert_eq(crc, crc32c(0, all));
        cr_assert_eq(crc, crc32c_by_table(0, all));
    }
}
