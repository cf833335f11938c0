#include "base/budget.h"

#include <criterion/criterion.h>

#include "tests/unit/random.h"

#define LOANS 7

Test(budget, lends_what_is_there_and_no_more)
{
    struct budget b = {0};
    struct loan l = {.budget = &b};
    budget_resize(&b, 1000, 0);
    cr_assert_eq(loan_borrow(&l, 600), 600);
    cr_assert_eq(loan_borrow(&l, 600), 400);
    cr_assert_eq(loan_borrow(&l, 1), 0);
    cr_assert_eq(loan_bytes(&l), 1000);
    cr_assert_eq(budget_unlent(&b), 0);
}

Test(budget, what_is_above_the_need_comes_back)
{
    struct budget b = {0};
    struct loan l = {.budget = &b};
    budget_resize(&b, 1000, 0);
    cr_assert_eq(loan_borrow(&l, 1000), 1000);
    loan_repay(&l, 300);
    cr_assert_eq(loan_bytes(&l), 300);
    cr_assert_eq(budget_unlent(&b), 700);
    loan_repay(&l, 500);
    cr_assert_eq(loan_bytes(&l), 300);
}

Test(budget, a_smaller_total_is_a_debt_until_the_call_is_answered)
{
    struct budget b = {0};
    struct loan l = {.budget = &b};
    budget_resize(&b, 1000, 0);
    cr_assert_eq(loan_borrow(&l, 900), 900);
    budget_resize(&b, 400, 0);
    cr_assert_eq(budget_unlent(&b), -500);
    cr_assert_eq(loan_borrow(&l, 1), 0);
    budget_recall(&l, 500);
    cr_assert_eq(budget_awaited(&l), 500);
    loan_repay(&l, UINT64_MAX);
    cr_assert_eq(budget_awaited(&l), 0);
    cr_assert_eq(loan_bytes(&l), 400);
    cr_assert_eq(budget_unlent(&b), 0);
}

Test(budget, a_call_for_more_than_was_lent_takes_all_of_it)
{
    struct budget b = {0};
    struct loan l = {.budget = &b};
    budget_resize(&b, 100, 0);
    cr_assert_eq(loan_borrow(&l, 60), 60);
    budget_recall(&l, 1000);
    loan_repay(&l, UINT64_MAX);
    cr_assert_eq(loan_bytes(&l), 0);
    cr_assert_eq(budget_unlent(&b), 100);
    cr_assert_eq(budget_awaited(&l), 0);
}

Test(budget, what_is_used_elsewhere_may_not_be_lent)
{
    struct budget b = {0};
    struct loan l = {.budget = &b};
    budget_resize(&b, 1000, 400);
    cr_assert_eq(budget_total(&b), 600);
    cr_assert_eq(loan_borrow(&l, 1000), 600);
    budget_raise(&b, 100);
    cr_assert_eq(loan_borrow(&l, 1000), 300);
    budget_raise(&b, 700);
    cr_assert_eq(budget_unlent(&b), 0);
    budget_resize(&b, 1000, 700);
    cr_assert_eq(budget_unlent(&b), -600);
    budget_resize(&b, 2000, 700);
    cr_assert_eq(loan_borrow(&l, 1000), 400);
}

Test(budget, what_is_owed_is_paid_by_whoever_gives_back_first)
{
    struct budget b = {0};
    struct loan l = {.budget = &b}, other = {.budget = &b};
    budget_resize(&b, 1000, 0);
    cr_assert_eq(loan_borrow(&other, 1000), 1000);
    loan_owe(&l, 300);
    cr_assert_eq(loan_bytes(&l), 300);
    cr_assert_eq(budget_owed(&b), 300);
    loan_settle(&other, 200);
    cr_assert_eq(loan_bytes(&other), 800);
    loan_repay(&other, 500);
    cr_assert_eq(budget_owed(&b), 0);
    cr_assert_eq(budget_settled(&b), 300);
    cr_assert_eq(budget_unlent(&b), 200);
    loan_settle(&other, 100);
    cr_assert_eq(loan_bytes(&other), 500, "nothing is owed any more");
}

Test(budget, no_byte_is_lost_whatever_happens)
{
    struct random r = random_make();
    struct budget b = {0};
    struct loan loans[LOANS] = {0};
    int64_t cap = 0, elsewhere = 0;
    for (unsigned i = 0; i < LOANS; i++) loans[i].budget = &b;
    for (unsigned step = 0; step < 100000; step++) {
        struct loan *l = &loans[random_below(&r, LOANS)];
        switch (random_below(&r, 7)) {
        case 0:
            cap = (int64_t)random_below(&r, 1000000) - 1000;
            elsewhere = (int64_t)random_below(&r, 100000);
            budget_resize(&b, cap, (uint64_t)elsewhere);
            break;
        case 4: {
            uint64_t now = random_below(&r, 100000);
            budget_raise(&b, now);
            elsewhere = MIN(elsewhere, (int64_t)now);
            break;
        }
        case 1:
            cr_assert_leq(loan_borrow(l, 1 + random_below(&r, 50000)), 50000);
            break;
        case 2:
            loan_repay(l, random_below(&r, 100000));
            break;
        case 3:
            budget_recall(l, random_below(&r, 1000));
            break;
        case 5:
            loan_owe(l, random_below(&r, 10000));
            break;
        case 6: {
            uint64_t owed = budget_owed(&b), settled = budget_settled(&b);
            loan_settle(l, random_below(&r, 20000));
            cr_assert_eq(owed - budget_owed(&b), budget_settled(&b) - settled);
            break;
        }
        }
        int64_t sum = budget_unlent(&b);
        for (unsigned i = 0; i < LOANS; i++) sum += (int64_t)loan_bytes(&loans[i]);
        cr_assert_eq(sum - (int64_t)budget_owed(&b), cap - elsewhere, "step %u", step);
    }
}
