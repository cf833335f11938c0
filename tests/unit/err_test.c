/* The texts of errors. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <signal.h>
#include <string.h>

#include "base/err.h"

Test(err, ok_is_zero_and_has_no_text)
{
    cr_assert_eq(OK, 0);
    cr_assert_str_eq(err_text(OK), "");
}

Test(err, texts_are_those_of_redis)
{
    cr_assert_str_eq(err_text(ERR_SYNTAX), "ERR syntax error");
    cr_assert_str_eq(err_text(ERR_NOT_INT), "ERR value is not an integer or out of range");
    cr_assert_str_eq(err_text(ERR_WRONG_TYPE),
                     "WRONGTYPE Operation against a key holding the wrong kind of value");
    cr_assert_str_eq(err_text(ERR_TIMEOUT_NEGATIVE), "ERR timeout is negative");
}

Test(err, every_text_starts_with_a_code_in_capitals_and_is_one_line)
{
    for (int e = OK + 1; e < ERR_COUNT; e++) {
        const char *text = err_text((enum err)e);
        size_t code = strcspn(text, " ");
        cr_assert_gt(code, 2, "%s", text);
        cr_assert_gt(strlen(text), code + 1, "%s", text);
        for (size_t i = 0; i < code; i++) cr_assert(isupper((unsigned char)text[i]), "%s", text);
        cr_assert_null(strpbrk(text, "\r\n"));
    }
}

Test(err, no_two_errors_share_a_text)
{
    for (int a = OK; a < ERR_COUNT; a++) {
        for (int b = OK; b < a; b++)
            cr_assert_str_neq(err_text((enum err)a), err_text((enum err)b));
    }
}

Test(err, a_number_that_is_no_error_is_a_failed_check, .signal = SIGABRT)
{
    err_text(ERR_COUNT);
}
