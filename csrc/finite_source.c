#include "finite_source.h"

#include <math.h>

#include "paczynski.h"
#include "roman_status.h"

#define PI 3.14159265358979323846
#define NODES 40    /* Gauss-Legendre, of each piece of the limb near the lens and for limb darkening */
#define PIECE 5.0   /* longest piece, in the logarithm of the distance from the lens */
#define CENTRED 1e-9 /* u / rho below which the disc is centred */
#define FAR 1e-3    /* rho / u below which the expansion is good to (rho / u)^6 */
#define ENOUGH 32.0 /* equal steps err by exp(-ENOUGH) */
#define FARTHEST 1e100 /* beyond, there is no magnification; no source is larger */

typedef struct {
    double x[NODES], w[NODES];
} rule;

/* Nodes and weights on [-1, 1]: Newton's method on Legendre polynomials. */
static void gauss_legendre(int n, rule *r)
{
    for (int i = 0; i < n; i++) {
        double x = cos(PI * (i + 0.75) / (n + 0.5)), slope = 1;
        for (int pass = 0; pass < 8; pass++) {
            double p = 1, before = 0;
            for (int k = 1; k <= n; k++) {
                double next = ((2 * k - 1) * x * p - (k - 1) * before) / k;
                before = p;
                p = next;
            }
            slope = n * (x * p - before) / (x * x - 1);
            x -= p / slope;
        }
        r->x[i] = x;
        r->w[i] = 2 / ((1 - x * x) * slope * slope);
    }
}

/* Mean over a small disc: A + rho^2 / 8 Laplacian A + rho^4 / 192 of its Laplacian; of the limb-darkened disc
 * the moments of the radius are smaller. */
static double expansion(double u, double rho, double limb)
{
    double point[3], second_moment = (1 - 7 * limb / 15) / (1 - limb / 3);
    paczynski_by_u(u, point);
    return point[0] + rho * rho / 8 * second_moment * (point[2] + point[1] / u);
}

/* The integrand, by the distance psi of phi from pi: sin2 = sin(psi / 2)^2. */
static double limb_value(double u, double rho, double sin2)
{
    double gap = u - rho, r2 = gap * gap + 4 * u * rho * sin2;
    return sqrt(1 + 4 / r2) * (2 * u * sin2 - gap);
}

static double uniform_disc(double u, double rho, const rule *nodes)
{
    if (u == 0) return sqrt(1 + 4 / (rho * rho));
    if (u == rho) {
        /* r = 2 rho sin(psi / 2): the integrand is r sqrt(r^2 + 4) / (2 rho), without a peak. */
        double sum = 0;
        for (int i = 0; i < NODES; i++) {
            double r = 2 * rho * sin(PI / 4 * (1 + nodes->x[i]));
            sum += nodes->w[i] * r * sqrt(r * r + 4);
        }
        return sum / (4 * rho * rho);
    }
    double gap = fabs(u - rho), strip = 2 * asinh(gap / (2 * sqrt(u * rho))), sum = 0;
    double needed = ENOUGH / (2 * strip);
    if (needed <= NODES / 2) {
        int steps = needed < 4 ? 4 : (int)ceil(needed);
        for (int i = 0; i < steps; i++) {
            double half = sin(PI * (i + 0.5) / (2 * steps));
            sum += limb_value(u, rho, half * half);
        }
        return sum / (steps * rho);
    }
    /* In s = asinh(psi / strip) the peak and the rest of the limb are both of order one wide. */
    double length = asinh(PI / strip);
    int pieces = (int)ceil(length / PIECE);
    for (int piece = 0; piece < pieces; piece++) {
        for (int i = 0; i < NODES; i++) {
            double s = length * (piece + 0.5 * (1 + nodes->x[i])) / pieces, half = sin(0.5 * strip * sinh(s));
            sum += nodes->w[i] * strip * cosh(s) * limb_value(u, rho, half * half);
        }
    }
    return sum * 0.5 * length / (pieces * PI * rho);
}

/* Integral over discs of radius rho sin(alpha), alpha from a to b, with nodes crowding at both ends: where a disc's
 * limb crosses the lens its magnification has a kink. */
static double discs(double u, double rho, double a, double b, const rule *nodes)
{
    double sum = 0;
    for (int i = 0; i < NODES; i++) {
        double t = 0.5 * (1 + nodes->x[i]), smooth = t * t * t * (10 - 15 * t + 6 * t * t);
        double slope = 30 * t * t * (1 - t) * (1 - t), sine = sin(a + (b - a) * smooth);
        if (!(sine > 0)) continue;
        double disc = sine * rho < FAR * u ? expansion(u, sine * rho, 0) : uniform_disc(u, sine * rho, nodes);
        sum += 0.5 * nodes->w[i] * slope * sine * sine * sine * disc;
    }
    return sum * (b - a);
}

static double magnified(double u, double rho, double limb, const rule *nodes)
{
    if (u > FARTHEST) return 1;
    if (rho < FAR * u) return expansion(u, rho, limb);
    double uniform = uniform_disc(u, rho, nodes);
    if (limb == 0) return uniform;
    double cross = u < rho ? asin(u / rho) : PI / 2;
    double darker = discs(u, rho, 0, cross, nodes);
    if (u < rho) darker += discs(u, rho, cross, PI / 2, nodes);
    return ((1 - limb) * uniform + limb * darker) / (1 - limb / 3);
}

int roman_finite_source(int64_t n, const double *u, double rho, double limb, double *magnification)
{
    if (n < 0 || !(rho > 0) || !(rho <= FARTHEST) || !(limb >= 0 && limb <= 1)) return ROMAN_ERR_ARGUMENT;
    rule nodes;
    gauss_legendre(NODES, &nodes);
    for (int64_t i = 0; i < n; i++) {
        if (!(u[i] >= 0) || !isfinite(u[i])) return ROMAN_ERR_ARGUMENT;
        magnification[i] = magnified(u[i] < CENTRED * rho ? 0 : u[i], rho, limb, &nodes);
    }
    return ROMAN_OK;
}
