/* Hears standard input, and prints the most probable label of every step.
 *
 * It reads 16 bit PCM, little-endian, one channel, at RNNAPP_SAMPLE_RATE; or token ids in decimal
 * digits, with white space between; or float features in the machine's own format, where the model
 * has neither an audio front end nor a vocabulary.
 */
#include <inttypes.h>
#include <stdio.h>

#include "model.h"

#if defined RNNAPP_SAMPLE_RATE
static float input[RNNAPP_INPUT_SIZE];
static int read_input(void)
{
    unsigned char bytes[2 * RNNAPP_INPUT_SIZE];
    if (fread(bytes, sizeof bytes, 1, stdin) != 1)
        return 0;
    for (int i = 0; i < RNNAPP_INPUT_SIZE; i++) {
        const int sample = bytes[2 * i] | bytes[2 * i + 1] << 8;
        input[i] = (float)(sample < 32768 ? sample : sample - 65536) / 32768.0f;
    }
    return 1;
}
#elif defined RNNAPP_VOCABULARY_SIZE
static int32_t input[RNNAPP_INPUT_SIZE];
static int read_input(void)
{
    int count = 0;
    while (count < RNNAPP_INPUT_SIZE && scanf("%" SCNd32, &input[count]) == 1)
        count++;
    return count == RNNAPP_INPUT_SIZE;
}
#else
static float input[RNNAPP_INPUT_SIZE];
static int read_input(void)
{
    return fread(input, sizeof *input, RNNAPP_INPUT_SIZE, stdin) == RNNAPP_INPUT_SIZE;
}
#endif

int main(void)
{
    static rnnapp_state state;
    static float probabilities[RNNAPP_NUM_LABELS];
    rnnapp_reset(&state);
    while (read_input()) {
        int best = 0;
        rnnapp_step(&state, input, probabilities);
        for (int i = 1; i < RNNAPP_NUM_LABELS; i++)
            if (probabilities[i] > probabilities[best])
                best = i;
        printf("%s %.4f\n", rnnapp_labels[best], (double)probabilities[best]);
    }
    return 0;
}
