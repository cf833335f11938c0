#include "server/cgroup.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[] = "/tmp/shoal-cgroup-XXXXXX";
static char self[64];

static void setup(void)
{
    cr_assert_not_null(mkdtemp(root));
    snprintf(self, sizeof self, "%s/self", root);
}

static void teardown(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -r %s", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(cgroup, .init = setup, .fini = teardown);

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = strchr(path + sizeof root, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f, "%s", path);
    fputs(text, f);
    fclose(f);
}

static struct cgroup_memory read_it(void)
{
    struct cgroup_memory m;
    cgroup_read_memory(root, self, &m);
    return m;
}

Test(cgroup, without_files_there_is_no_limit)
{
    cr_assert_eq(read_it().limit_bytes, 0);
    write_file("self", "0::/\n");
    write_file("memory.max", "max\n");
    cr_assert_eq(read_it().limit_bytes, 0);
}

Test(cgroup, the_limit_at_the_root_is_that_of_a_container)
{
    write_file("self", "0::/\n");
    write_file("memory.max", "1000000\n");
    write_file("memory.current", "700000\n");
    write_file("memory.stat", "anon 1\ninactive_file 200000\n");
    cr_assert_eq(read_it().limit_bytes, 1000000);
    cr_assert_eq(read_it().used_bytes, 500000, "file pages go before anybody is killed");
}

Test(cgroup, of_nested_groups_the_tightest_counts)
{
    write_file("self", "0::/outer/inner\n");
    write_file("outer/memory.max", "500000\n");
    write_file("outer/memory.current", "400000\n");
    write_file("outer/inner/memory.max", "900000\n");
    write_file("outer/inner/memory.current", "100000\n");
    cr_assert_eq(read_it().limit_bytes, 500000);
    cr_assert_eq(read_it().used_bytes, 400000);
}

Test(cgroup, version_1_has_other_names)
{
    write_file("self", "5:cpu:/x\n4:memory:/docker/1\n0::/\n");
    write_file("memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_file("memory/docker/1/memory.limit_in_bytes", "300000\n");
    write_file("memory/docker/1/memory.usage_in_bytes", "250000\n");
    write_file("memory/docker/1/memory.stat", "inactive_file 1\ntotal_inactive_file 50000\n");
    cr_assert_eq(read_it().limit_bytes, 300000);
    cr_assert_eq(read_it().used_bytes, 200000);
}

Test(cgroup, version_1_may_have_several_controllers_in_one_line)
{
    write_file("self", "5:cpu,memoryless:/x\n4:hugetlb,memory,pids:/docker/1\n0::/\n");
    write_file("memory/docker/1/memory.limit_in_bytes", "300000\n");
    write_file("memory/x/memory.limit_in_bytes", "200000\n");
    cr_assert_eq(read_it().limit_bytes, 300000);
}

Test(cgroup, limits_above_do_not_count_where_version_1_has_no_hierarchy)
{
    write_file("self", "4:memory:/outer/inner\n");
    write_file("memory/outer/memory.limit_in_bytes", "300000\n");
    write_file("memory/outer/memory.use_hierarchy", "1\n");
    write_file("memory/outer/inner/memory.limit_in_bytes", "400000\n");
    write_file("memory/outer/inner/memory.use_hierarchy", "0\n");
    cr_assert_eq(read_it().limit_bytes, 300000);
    write_file("memory/outer/memory.use_hierarchy", "0\n");
    cr_assert_eq(read_it().limit_bytes, 400000);
}

Test(cgroup, what_slows_the_process_down_is_a_limit_too)
{
    write_file("self", "0::/pod\n");
    write_file("pod/memory.max", "900000\n");
    write_file("pod/memory.high", "800000\n");
    write_file("pod/memory.current", "100000\n");
    cr_assert_eq(read_it().limit_bytes, 800000);
    cr_assert(read_it().is_high);
    write_file("pod/memory.high", "max\n");
    cr_assert_eq(read_it().limit_bytes, 900000);
    cr_assert_not(read_it().is_high);
    write_file("pod/memory.max", "max\n");
    cr_assert_eq(read_it().limit_bytes, 0);
    write_file("pod/memory.high", "800000\n");
    cr_assert_eq(read_it().limit_bytes, 800000);
}

/* A container that sees the host's name of its group, but only its own part of the hierarchy. */
Test(cgroup, a_group_that_cannot_be_seen_is_the_root)
{
    write_file("self", "4:memory:/docker/abc\n0::/../../docker/abc\n");
    write_file("memory/memory.limit_in_bytes", "300000\n");
    write_file("memory.max", "200000\n");
    cr_assert_eq(read_it().limit_bytes, 200000);
}
