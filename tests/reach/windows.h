/* What the tests in C want of POSIX that mingw lacks: a limit on time. Whatever runs them has one. */
#ifndef SIGALRM
#include <signal.h>
#define SIGALRM SIGABRT
static inline unsigned alarm(unsigned seconds) {
    return seconds;
}
#endif
