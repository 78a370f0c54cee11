// An I2S microphone on an ESP32, as RTP packets of raw PCM for the input `udp:`.
//
// A packet has the header of RTP (RFC 3550) and 10 ms of L16, payload type 11 (RFC
// 3551): 44,100 Hz, one channel, 16 bits, the high byte first.  Nothing is sent again:
// the monitor counts by the time stamp what was lost.
//
// For the Arduino core 3 of Espressif.  See ../esp32.md.

#include <ESP_I2S.h>
#include <WiFi.h>
#include <WiFiUdp.h>

const char *NETWORK = "my network";
const char *PASSWORD = "its password";
const IPAddress MONITOR(192, 168, 1, 10);
const uint16_t PORT = 5004;

const int BCLK = 26, WS = 25, DATA = 33;
// A microphone of 24 bits in 32; 16 would take the highest 16 bits.  Each step less is
// 6 dB more, for a quiet place.
const int SHIFT = 14;

const int RATE = 44100, SAMPLES = 441, HEADER = 12;

I2SClass microphone;
WiFiUDP udp;
int32_t samples[SAMPLES];
uint8_t packet[HEADER + 2 * SAMPLES];
uint16_t sequence = 0;
uint32_t stamp, sender;

void putBigEndian(uint8_t *at, uint32_t value) {
  for (int byte = 0; byte < 4; byte++) at[byte] = value >> (24 - 8 * byte);
}

void setup() {
  Serial.begin(115200);
  WiFi.mode(WIFI_STA);
  WiFi.setSleep(false);  // else packets come in bursts of 100 ms and more
  WiFi.setAutoReconnect(true);
  WiFi.begin(NETWORK, PASSWORD);
  stamp = esp_random();
  sender = esp_random();
  microphone.setPins(BCLK, WS, -1, DATA);
  if (!microphone.begin(I2S_MODE_STD, RATE, I2S_DATA_BIT_WIDTH_32BIT,
                        I2S_SLOT_MODE_MONO, I2S_STD_SLOT_LEFT)) {
    Serial.println("the microphone cannot be opened; starting again");
    delay(5000);
    ESP.restart();
  }
}

void loop() {
  // Waits for 10 ms of sound.
  size_t read = microphone.readBytes((char *)samples, sizeof samples);
  int count = read / sizeof samples[0];
  if (count == 0) return;
  packet[0] = 0x80;  // version 2
  packet[1] = 11;    // L16, 44,100 Hz, one channel
  packet[2] = sequence >> 8;
  packet[3] = sequence & 0xff;
  putBigEndian(packet + 4, stamp);
  putBigEndian(packet + 8, sender);
  for (int i = 0; i < count; i++) {
    int32_t value = samples[i] >> SHIFT;
    value = value > 32767 ? 32767 : value < -32768 ? -32768 : value;
    packet[HEADER + 2 * i] = value >> 8;
    packet[HEADER + 2 * i + 1] = value & 0xff;
  }
  sequence++;
  stamp += count;
  if (WiFi.status() != WL_CONNECTED) return;
  udp.beginPacket(MONITOR, PORT);
  udp.write(packet, HEADER + 2 * count);
  udp.endPacket();
}
