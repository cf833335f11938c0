/* env_compat.h: io_uring constants of newer kernels that liburing 2.3 does not define.
 *
 * Source     include/uapi/linux/io_uring.h of Linux. Each is used only after the kernel's feature
 *            bits allow it.
 */
#pragma once

#include <liburing.h>

/* Linux 6.3. From here on a MSG_RING to a ring with DEFER_TASKRUN is known to wake it. */
#ifndef IORING_FEAT_REG_REG_RING
#define IORING_FEAT_REG_REG_RING (1U << 13)
#endif

/* Linux 6.15. Waiting in the ring does not count as waiting for a disk, which `top` shows as a busy
 * CPU. */
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
