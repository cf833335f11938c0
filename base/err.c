/* err.c: the table from enum err to the text of a RESP error. */
#include "base/err.h"

static const char *const texts[] = {
#define X(name, text) [name] = (text),
    ERR_LIST(X)
#undef X
};

const char *err_text(enum err e)
{
    CHECK((unsigned)e < ERR_COUNT);
    return texts[e];
}
