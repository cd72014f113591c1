/* Runs a scheduler so that nothing of it gets away: every descendant whose parent ends becomes a
 * child of this process, so that the processor time of all of them adds up here.
 *
 *     cage REPORT COMMAND...
 *
 * TERM is passed on to COMMAND; once that has ended, what is left of it is killed, and REPORT gets
 * one line: its exit status as of wait(2), nanoseconds from start to end, microseconds of user and of
 * system time, and its peak of memory in KiB. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t inmate;

static void pass_on(int number)
{
    kill(inmate, number);
}

static long long clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Their own children come here as soon as they are gone, and are next. */
static void kill_children(void)
{
    FILE *children = fopen("/proc/thread-self/children", "r");
    int pid;
    if (!children)
        return;
    while (fscanf(children, "%d", &pid) == 1)
        kill(pid, SIGKILL);
    fclose(children);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
    long long begun = clock_ns();
    inmate = fork();
    if (inmate == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int over = 0;
    for (;;) {
        struct rusage usage;
        int status;
        pid_t pid = wait4(-1, &status, over ? WNOHANG : 0, &usage);
        if (pid < 0 && errno == ECHILD)
            return 0;
        if (pid == inmate) {
            FILE *report = fopen(argv[1], "w");
            if (report) {
                fprintf(report, "%d %lld %lld %lld %ld\n", status, clock_ns() - begun,
                        usage.ru_utime.tv_sec * 1000000LL + usage.ru_utime.tv_usec,
                        usage.ru_stime.tv_sec * 1000000LL + usage.ru_stime.tv_usec,
                        usage.ru_maxrss);
                fclose(report);
            }
            over = 1;
        }
        if (over && pid <= 0) {
            kill_children();
            usleep(2000);
        }
    }
}
