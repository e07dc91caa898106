/* Body of grid_sums.c, compiled once per vector level (levels.h). */
#include "psf_stamp_body.h"

/* out[l] += sum over the SIDE taps of tap[k] image[l + k]: in this form compilers keep the sums in vectors. */
static void AT_LEVEL(add_taps)(const float *restrict tap, const float *restrict image, float *restrict out)
{
    float t0 = tap[0], t1 = tap[1], t2 = tap[2], t3 = tap[3], t4 = tap[4], t5 = tap[5], t6 = tap[6];
    for (int l = 0; l < BLOCK; l++) {
        float low = fmaf(t2, image[l + 2], fmaf(t1, image[l + 1], fmaf(t0, image[l], out[l])));
        out[l] = fmaf(t6, image[l + 6], fmaf(t5, image[l + 5], fmaf(t4, image[l + 4], fmaf(t3, image[l + 3], low))));
    }
}

static void AT_LEVEL(add_row)(const float *restrict s, const float *restrict n, float *restrict sum,
                              float *restrict norm, float *restrict top_sum, float *restrict top_norm)
{
    for (int l = 0; l < BLOCK; l++) {
        sum[l] += s[l];
        norm[l] += n[l];
    }
    for (int l = 0; l < BLOCK; l++) {
        /* s^2 / n against top^2 / top_n; both norms are zero where nothing was seen. */
        float mine = s[l] * s[l] * top_norm[l], best = top_sum[l] * top_sum[l] * n[l];
        int take = n[l] > 0 && (top_norm[l] == 0 || mine > best);
        top_sum[l] = take ? s[l] : top_sum[l];
        top_norm[l] = take ? n[l] : top_norm[l];
    }
}

static int AT_LEVEL(grid_sums)(const roman_psf_field *field, const roman_frame *frame, int64_t blocks_y,
                               int64_t blocks_x, const double *dx, const double *dy, const float *signal,
                               const float *weight, float *sum, float *norm, float *top_sum, float *top_norm)
{
    int64_t stride = (int64_t)frame->nx + 2 * frame->pad, rows = (int64_t)frame->ny + 2 * frame->pad;
    int64_t width = BLOCK * blocks_x, plane = BLOCK * blocks_y * width;
    float stamp[SIDE * (SIDE + 1)], square[SIDE * (SIDE + 1)], s[BLOCK], n[BLOCK];
    for (int64_t by = 0; by < blocks_y; by++) {
        for (int64_t bx = 0; bx < blocks_x; bx++) {
            double ox = dx[by * blocks_x + bx], oy = dy[by * blocks_x + bx];
            roman_psf psf = roman_psf_at(field, BLOCK * (bx + 0.5) + ox, BLOCK * (by + 0.5) + oy);
            for (int phase = 0; phase < 4; phase++) {
                double x = BLOCK * bx + 0.5 * (phase & 1) + ox, y = BLOCK * by + 0.5 * (phase >> 1) + oy;
                double px = floor(x + 0.5), py = floor(y + 0.5);
                double left = px + frame->pad - HALF, top = py + frame->pad - HALF;
                if (!(left >= 0 && top >= 0 && left + BLOCK + SIDE - 1 <= stride && top + BLOCK + SIDE - 1 <= rows)) continue;
                int64_t from = (int64_t)top * stride + (int64_t)left;
                int64_t to = phase * plane + BLOCK * by * width + BLOCK * bx;
                AT_LEVEL(one_stamp)(&psf, x - px, y - py, HALF, 0, stamp);
                for (int k = 0; k < SIDE * (SIDE + 1); k++) square[k] = stamp[k] * stamp[k];
                for (int row = 0; row < BLOCK; row++, from += stride, to += width) {
                    for (int l = 0; l < BLOCK; l++) s[l] = n[l] = 0;
                    for (int k = 0; k < SIDE; k++) {
                        AT_LEVEL(add_taps)(stamp + k * (SIDE + 1), signal + from + k * stride, s);
                        AT_LEVEL(add_taps)(square + k * (SIDE + 1), weight + from + k * stride, n);
                    }
                    AT_LEVEL(add_row)(s, n, sum + to, norm + to, top_sum + to, top_norm + to);
                }
            }
        }
    }
    return ROMAN_OK;
}
