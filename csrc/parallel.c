#include "parallel.h"

#include <pthread.h>
#include <stdatomic.h>

#define MOST_THREADS 64

typedef struct {
    void (*piece)(void *, int64_t);
    void *context;
    int64_t pieces;
    atomic_llong next;
} loop;

static void *work(void *argument)
{
    loop *l = argument;
    for (;;) {
        int64_t k = atomic_fetch_add(&l->next, 1);
        if (k >= l->pieces) return NULL;
        l->piece(l->context, k);
    }
}

void roman_parallel(int threads, int64_t pieces, void (*piece)(void *context, int64_t k), void *context)
{
    loop l = {piece, context, pieces, 0};
    pthread_t helper[MOST_THREADS];
    int started = 0;
    if (threads > pieces) threads = (int)pieces;
    if (threads > MOST_THREADS) threads = MOST_THREADS;
    while (started < threads - 1 && pthread_create(helper + started, NULL, work, &l) == 0) started++;
    work(&l);
    for (int t = 0; t < started; t++) pthread_join(helper[t], NULL);
}
