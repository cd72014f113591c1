/* The job that every scheduler is given: `job FILE LABEL` appends "LABEL NANOSECONDS\n" to FILE,
 * with the time of day at which it got the processor first, by one write. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec now;
    char line[160];
    clock_gettime(CLOCK_REALTIME, &now);
    if (argc != 3)
        return 2;
    int length = snprintf(line, sizeof line, "%.100s %lld\n", argv[2],
                          now.tv_sec * 1000000000LL + now.tv_nsec);
    int file = open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    return file < 0 || write(file, line, length) != length;
}
