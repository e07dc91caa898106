/* What the C tests share: checks that say where they failed, and small image makers. */
#ifndef ROMAN_CHECK_H
#define ROMAN_CHECK_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int checks_failed, checks_made;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        checks_made++;                                                                             \
        if (!(condition)) {                                                                        \
            checks_failed++;                                                                       \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
        }                                                                                          \
    } while (0)

#define CHECK_CLOSE(got, wanted, tolerance)                                                        \
    do {                                                                                           \
        double got_ = (got), wanted_ = (wanted);                                                   \
        checks_made++;                                                                             \
        if (!(fabs(got_ - wanted_) <= (tolerance))) {                                              \
            checks_failed++;                                                                       \
            fprintf(stderr, "%s:%d: %s is %.9g, not %.9g\n", __FILE__, __LINE__, #got, got_,       \
                    wanted_);                                                                      \
        }                                                                                          \
    } while (0)

/* Ends main(): one line, and a status that make sees. */
static inline int check_summary(const char *name)
{
    printf("%s: %d checks, %d failed\n", name, checks_made, checks_failed);
    return checks_failed ? 1 : 0;
}

/* malloc that ends the test when it fails. */
static inline void *check_alloc(size_t bytes)
{
    void *memory = calloc(bytes ? bytes : 1, 1);
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    return memory;
}

/* Uniform in [0, 1): a fixed sequence for a fixed state. */
static inline double check_uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) / 9007199254740992.0;
}

#endif
