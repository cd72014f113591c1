/* What the machine can do at most: sleeps until a time, starts so many children by posix_spawn, one
 * after the other, and reaps them. No records, no output, no policy.
 *
 *     loop JOB FILE < PLAN        lines of PLAN, in order of time: NANOSECONDS COUNT LABEL */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    long long due;
    long count;
    char label[101];
    if (argc != 3)
        return 2;
    while (scanf("%lld %ld %100s", &due, &count, label) == 3) {
        struct timespec at = {due / 1000000000, due % 1000000000};
        while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, NULL) == EINTR)
            ;
        char *words[] = {argv[1], argv[2], label, NULL};
        for (long n = 0; n < count; n++) {
            pid_t pid;
            if (posix_spawn(&pid, argv[1], NULL, NULL, words, environ))
                return 1;
            while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
        }
        while (waitpid(-1, NULL, 0) > 0)
            ;
    }
    for (;;)
        pause();
}
